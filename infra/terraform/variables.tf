# Inputs of infra/terraform/main.tf: -var NAME=VALUE, or a terraform.tfvars in this folder.

variable "bucket" {
  type        = string
  description = "Name of the bucket, unique in AWS."

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "prefix" {
  type        = string
  description = "Prefix of results in the bucket; only these can be accessed."
  default     = "sept"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.prefix))
    error_message = "Names with / between them, none at the ends."
  }
}

variable "region" {
  type        = string
  description = "Region of the bucket, and of the instances of infra/ray-aws.yaml."
  default     = "us-east-1"
}

variable "cluster" {
  type        = string
  description = "cluster_name of infra/ray-aws.yaml: its head may end instances with this tag only."
  default     = "sept"
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key to encrypt with; default: AES256 with S3's own key."
  default     = null
}
