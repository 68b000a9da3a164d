// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awssim is a simulated AWS for tests, the demo and benchmarks. It models EC2, EBS, KMS, STS, IAM,
// Organizations, SSM and License Manager as far as sharing and copying encrypted images needs them. It enforces the
// rules of AWS in rules.txt and cites them by number.
//
// A World is an http.Handler. In process it is also an HTTP client of the SDK. Its state is a function of the clock, so
// the same code runs in virtual, scaled and real time. It refuses operations, parameters, condition keys and
// enumeration values that it does not model.
//
// Files are named after the AWS service that they model. Files with the prefix sim_ hold what all services share: the
// world, its clock, faults and the recorder.
package awssim
