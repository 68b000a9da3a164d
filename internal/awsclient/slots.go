// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"sync"
)

type slotKey struct{}

// WithSlot returns a context for calls that count against a limit of concurrent calls. It calls release once: when AWS
// does not answer a call, or when the returned function is called. Destinations that do not answer therefore do not
// block the others.
func WithSlot(ctx context.Context, release func()) (context.Context, func()) {
	once := sync.OnceFunc(release)
	return context.WithValue(ctx, slotKey{}, once), once
}

func releaseSlot(ctx context.Context) {
	if release, ok := ctx.Value(slotKey{}).(func()); ok {
		release()
	}
}
