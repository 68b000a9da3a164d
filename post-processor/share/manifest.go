// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package share

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// manifest is the file of manifest_path.
type manifest struct {
	path   string // "" for none
	failed bool   // the last try to write it
}

// write writes the result as it stands. That it fails is told once, and does not end what is under way.
func (r *run) write() {
	if r.manifest.path == "" {
		return
	}
	text, err := report.JSON(r.result)
	if err == nil {
		err = replace(r.manifest.path, text)
	}
	if err != nil && !r.manifest.failed {
		r.ui.Error("manifest_path: " + err.Error())
	}
	r.manifest.failed = err != nil
}

// replace writes a file as a whole: whoever reads it meets the old content or the new.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, written := file.Write(content)
	err = errors.Join(written, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
