// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package runrecord keeps the records of runs. A record is a tag of the source image. It says until when a run owns the
// resources that it created. There are no locks: only the run itself writes its record. It owns its resources until it
// ends or its record lapses.
package runrecord
