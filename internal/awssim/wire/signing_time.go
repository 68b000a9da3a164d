// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// basicFormat is the format of X-Amz-Date.
const basicFormat = "20060102T150405Z"

// readSigningTime reads when the request was signed, from the header or from a presigned URL.
func (r *Request) readSigningTime(header http.Header, query url.Values) error {
	date := cmp.Or(header.Get("X-Amz-Date"), query.Get("X-Amz-Date"))
	if date == "" {
		at, err := http.ParseTime(header.Get("Date"))
		if err != nil {
			return r.unsigned(http.StatusBadRequest, "IncompleteSignature",
				"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
		}
		r.SignedAt = at
		return nil
	}

	at, err := time.Parse(basicFormat, date)
	if err != nil {
		return r.unsigned(http.StatusBadRequest, "IncompleteSignature",
			fmt.Sprintf("Date must be in ISO-8601 'basic format'. Got '%s'.", date))
	}

	r.SignedAt = at
	if seconds, err := strconv.Atoi(query.Get("X-Amz-Expires")); err == nil {
		r.Expires = time.Duration(seconds) * time.Second
	}

	return nil
}
