// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"context"
	"maps"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// keyDelay is the time after which the tags are read again after writing a signing key. Runs that start at the same
// time then see both keys and choose the same one. If they do not, each key still verifies its signatures.
const keyDelay = 3 * time.Second

// EnsureSigningKey returns the signing keys of the source image. It writes one if there is none, with the release time
// of the build's images.
func (s TagStore) EnsureSigningKey(ctx context.Context, release time.Time) (provenance.SigningKeys, error) {
	tags, err := s.Tags(ctx)
	if err != nil {
		return nil, err
	}
	if keys := provenance.ParseSigningKeys(tags); len(keys) > 0 {
		return keys, nil
	}

	key, value := provenance.NewSigningKey(release).Tag()
	own := map[string]string{key: value}
	if err := s.write(ctx, own); err != nil {
		return nil, err
	}
	if err := sleep(ctx, keyDelay); err != nil {
		return nil, err
	}
	if tags, err = s.Tags(ctx); err != nil {
		return nil, err
	}
	maps.Copy(tags, own) // a read may miss what was just written (rule 4.4.1, eventual consistency)
	return provenance.ParseSigningKeys(tags), nil
}

// sleep waits, or returns why the context is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
