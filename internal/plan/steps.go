// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

// ProtectImage switches deregistration protection on, without cool-down, and leaves a tag that says so (A.2).
type ProtectImage struct {
	Head
	ImageID string
}

// LiftProtection switches off what ProtectImage switched on, and takes the tag away.
type LiftProtection struct {
	Head
	ImageID string
}

// CopySnapshot makes an encrypted copy in At (rules 1.3.8, 4.1.1). It ends when the copy is completed. Undone by deleting it.
type CopySnapshot struct {
	Head
	Source      Ref
	FromRegion  string
	Device      string // for messages
	KeyARN      string // a key in At's Region
	GiB         int64
	Description string
	Tags        map[string]string // all of them, origin's among them
}

// ShareSnapshot lets accounts create volumes from a snapshot (rules 2.1.5, 2.1.6). Undone by WithdrawShare.
type ShareSnapshot struct {
	Head
	Snapshot Ref
	Accounts []string // sorted, at most 500
}

// RegisterImage makes an image from At's own snapshots (rules 1.5, 2.5). Undone by deregistering it.
type RegisterImage struct {
	Head
	Name        string
	Description string
	Source      ec2types.Image // whose attributes are carried over
	UEFIData    string
	Snapshots   map[string]Ref // device name -> snapshot
	Tags        map[string]string
}

// VerifyImage compares the registered image with its source, attribute by attribute, and its snapshots with what was wanted.
// Valid only after completion (4.6.1).
type VerifyImage struct {
	Head
	Image     Ref
	Register  *RegisterImage
	Snapshots map[string]Wanted // device name -> what its snapshot has to be
}

// Wanted is what a target's snapshot has to be: owned by the account, encrypted with this key, of this size.
type Wanted struct {
	Snapshot Ref
	KeyARN   string
	GiB      int64
}

// WithdrawShare takes the permission of accounts away again, once no copy needs it.
type WithdrawShare struct {
	Head
	Snapshot Ref
	Accounts []string // sorted; never one that had the permission before
}

// DeleteSnapshot removes a staged snapshot that this run made, once no copy needs it.
type DeleteSnapshot struct {
	Head
	Snapshot Ref
}
