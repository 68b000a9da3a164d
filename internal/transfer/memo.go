// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import "time"

// memo is what a step remembers from one call of its act to the next.
type memo struct {
	asked   time.Time // when a call was made whose effect is unclear; zero: none is
	looks   int       // how often it was looked for since
	thrown  []string  // ids that came of earlier calls and failed
	repeats int       // how often the copy was made again
}
