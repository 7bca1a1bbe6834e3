# The bucket for results, access to it, and the instance profiles that infra/ray-aws.yaml names:
#
#   terraform -chdir=infra/terraform init
#   terraform -chdir=infra/terraform apply -var bucket=NAME            # defaults: prefix=sept, region=us-east-1
#   sept sweep launch full --root "$(terraform -chdir=infra/terraform output -raw root)" ...
#
# The policy and the clean-up rules are infra/s3-policy.json and infra/s3-lifecycle.json. Versioning is off: the store
# relies on conditional writes, not on versions, and old versions of checkpoints would only cost money. A bucket with
# results is not destroyed. State is stored in this folder unless you add a backend; it contains no secrets.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project = "sept-sweep"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  policy    = jsondecode(replace(replace(file("${path.module}/../s3-policy.json"), "BUCKET", var.bucket), "PREFIX", var.prefix))
  lifecycle = jsondecode(replace(file("${path.module}/../s3-lifecycle.json"), "PREFIX", var.prefix))
}

resource "aws_s3_bucket" "results" {
  bucket        = var.bucket
  force_destroy = false
}

resource "aws_s3_bucket_public_access_block" "results" {
  bucket = aws_s3_bucket.results.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key
    }
  }
}

resource "aws_s3_bucket_policy" "tls_only" {
  bucket = aws_s3_bucket.results.id
  policy = data.aws_iam_policy_document.tls_only.json

  depends_on = [aws_s3_bucket_public_access_block.results]
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    sid       = "RefusePlainHttp"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  dynamic "rule" {
    for_each = local.lifecycle.Rules

    content {
      id     = rule.value.ID
      status = rule.value.Status

      filter {
        prefix = rule.value.Filter.Prefix
      }

      dynamic "abort_incomplete_multipart_upload" {
        for_each = try([rule.value.AbortIncompleteMultipartUpload], [])

        content {
          days_after_initiation = abort_incomplete_multipart_upload.value.DaysAfterInitiation
        }
      }

      dynamic "expiration" {
        for_each = try([rule.value.Expiration], [])

        content {
          days = expiration.value.Days
        }
      }
    }
  }
}

# Access to results, for the nodes below and for others to whom it is attached.
resource "aws_iam_policy" "results" {
  name   = "sept-results-${var.bucket}"
  policy = jsonencode(local.policy)
}

resource "aws_iam_policy" "key" {
  count = var.kms_key == null ? 0 : 1

  name   = "sept-key-${var.bucket}"
  policy = data.aws_iam_policy_document.key[0].json
}

data "aws_iam_policy_document" "key" {
  count = var.kms_key == null ? 0 : 1

  statement {
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key]
  }
}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "node" {
  for_each = toset(["head", "worker"])

  name               = "sept-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_instance_profile" "node" {
  for_each = aws_iam_role.node

  name = each.value.name
  role = each.value.name
}

resource "aws_iam_role_policy_attachment" "results" {
  for_each = aws_iam_role.node

  role       = each.value.name
  policy_arn = aws_iam_policy.results.arn
}

resource "aws_iam_role_policy_attachment" "key" {
  for_each = var.kms_key == null ? {} : aws_iam_role.node

  role       = each.value.name
  policy_arn = aws_iam_policy.key[0].arn
}

# Permissions for Ray's autoscaler on the head to start and end workers, and no other instances.
resource "aws_iam_role_policy" "autoscaler" {
  name   = "autoscaler"
  role   = aws_iam_role.node["head"].id
  policy = data.aws_iam_policy_document.autoscaler.json
}

data "aws_iam_policy_document" "autoscaler" {
  statement {
    sid       = "Look"
    actions   = ["ec2:Describe*", "ssm:GetParameters", "iam:GetInstanceProfile"]
    resources = ["*"]
  }

  statement {
    sid       = "StartWorkers"
    actions   = ["ec2:RunInstances"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  statement {
    sid       = "TagWhatItStarts"
    actions   = ["ec2:CreateTags"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
  }

  statement {
    sid       = "EndAndTagItsOwn"
    actions   = ["ec2:TerminateInstances", "ec2:CreateTags"]
    resources = ["arn:${data.aws_partition.current.partition}:ec2:${var.region}:${data.aws_caller_identity.current.account_id}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:ResourceTag/ray-cluster-name"
      values   = [var.cluster]
    }
  }

  statement {
    sid       = "GiveWorkersTheirRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.node["worker"].arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }
}
