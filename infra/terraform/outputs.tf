# Values for commands: terraform -chdir=infra/terraform output -raw root

output "root" {
  description = "For --root."
  value       = "s3://${aws_s3_bucket.results.id}/${var.prefix}"
}

output "policy_arn" {
  description = "Attach it to other users who read and write results."
  value       = aws_iam_policy.results.arn
}

output "instance_profiles" {
  description = "The names in infra/ray-aws.yaml."
  value       = { for kind, profile in aws_iam_instance_profile.node : kind => profile.name }
}
