# What commands are told of it: terraform -chdir=infra/terraform output -raw root

output "root" {
  description = "For --root."
  value       = "s3://${aws_s3_bucket.results.id}/${var.prefix}"
}

output "policy_arn" {
  description = "To attach to whoever else is to read and write results."
  value       = aws_iam_policy.results.arn
}

output "instance_profiles" {
  description = "As infra/ray-aws.yaml names them."
  value       = { for kind, profile in aws_iam_instance_profile.node : kind => profile.name }
}
