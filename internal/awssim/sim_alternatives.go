// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "slices"

// Alternative is a behavior of AWS that is not documented, or that AWS does not promise. A client must work with and
// without it.
type Alternative string

// Alternatives. A comment says what the alternative does, and then what the world does by default.
const (
	// OneCopyForAllDevices copies a snapshot once in CopyImage, even if several devices use it. By default it has a copy
	// for each device.
	OneCopyForAllDevices Alternative = "one-copy-for-all-devices"
	// ArbitraryVolumeIDs shows a volume ID of its own for each copied snapshot. By default it is vol-ffffffff, which was
	// recorded but is documented as arbitrary.
	ArbitraryVolumeIDs Alternative = "arbitrary-volume-ids"
	// InheritedDescription keeps the description of the source image in CopyImage. By default the copy has none.
	InheritedDescription Alternative = "inherited-description"
	// InheritedDeprecation keeps the deprecation time of the source image in CopyImage (Q5). By default the copy has
	// none.
	InheritedDeprecation Alternative = "inherited-deprecation"
	// KeptSnapshots keeps the snapshots of a deregistered image, and returns that. By default they are deleted.
	KeptSnapshots Alternative = "kept-snapshots"
	// ImageKeyChecked refuses an unusable key of CopyImage at once (Q1). By default the copy fails later (rule 1.8.5).
	ImageKeyChecked Alternative = "image-key-checked"
	// ManagedKeyForCopies encrypts a copy without a key with aws/ebs (Q2). By default it uses the EBS default key.
	ManagedKeyForCopies Alternative = "managed-key-for-copies"
	// KeyStateChecked refuses a key that is pending import in CopySnapshot (Q3). By default the copy fails later.
	KeyStateChecked Alternative = "key-state-checked"
	// ImageCopiesCounted counts the snapshots of image copies in the quota of snapshot copies (Q4). By default they do
	// not count.
	ImageCopiesCounted Alternative = "image-copies-counted"
	// ActingDryRuns ignores DryRun, as if a proxy had dropped the parameter. By default a dry run changes nothing.
	ActingDryRuns Alternative = "acting-dry-runs"
	// ParameterTypeRefused refuses another type for an existing parameter. By default it converts the parameter (rule
	// B.6.1).
	ParameterTypeRefused Alternative = "parameter-type-refused"
	// HiddenParameterTaken refuses to create a parameter of the data type aws:ec2:image twice, even before its first
	// version can be read. By default the second creation adds a version (rule 7.3).
	HiddenParameterTaken Alternative = "hidden-parameter-taken"
	// OtherRefusals has other messages for copies above a quota (Q7, Q10), locked snapshots (Q7) and protected images
	// (Q9). A copy above a quota has status 503, and a protected image has another error code. By default the
	// refusals are the reported or inferred ones.
	OtherRefusals Alternative = "other-refusals"
	// DocumentedKeyPermissions needs all documented permissions on both keys to copy an encrypted snapshot of another
	// account from another Region (Q8). By default it needs those that were recorded within a Region (rule 3.1.8).
	DocumentedKeyPermissions Alternative = "documented-key-permissions"
)

// Alternatives returns all alternatives.
func Alternatives() []Alternative {
	return []Alternative{
		OneCopyForAllDevices, ArbitraryVolumeIDs, InheritedDescription, InheritedDeprecation, KeptSnapshots, ImageKeyChecked,
		ManagedKeyForCopies, KeyStateChecked, ImageCopiesCounted, ActingDryRuns, ParameterTypeRefused,
		HiddenParameterTaken, OtherRefusals, DocumentedKeyPermissions,
	}
}

// WithAlternatives selects alternatives.
func WithAlternatives(chosen ...Alternative) Option {
	return func(w *World) { w.alternatives = append(w.alternatives, chosen...) }
}

// chooses reports whether the world has an alternative.
func (w *World) chooses(a Alternative) bool { return slices.Contains(w.alternatives, a) }
