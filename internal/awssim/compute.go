// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

// computeState is instances and what they need.
type computeState struct {
	enabled         map[place]bool         // opt-in Regions that an account uses
	networks        map[place]*network     // made at first use
	instances       shelf[*instance]       // by id
	keyPairs        shelf[keyPair]         // by id
	launchTemplates shelf[*launchTemplate] // by id
	clientTokens    map[tokenKey]tokened   // client tokens
}

func newComputeState() computeState {
	return computeState{
		enabled:         map[place]bool{},
		networks:        map[place]*network{},
		instances:       newShelf[*instance](),
		keyPairs:        newShelf[keyPair](),
		launchTemplates: newShelf[*launchTemplate](),
		clientTokens:    map[tokenKey]tokened{},
	}
}
