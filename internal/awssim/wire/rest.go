// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
)

// rest holds the parts of a REST request outside its body, and what its response needs.
type rest struct {
	members map[string]string // members in path and headers
	status  int               // HTTP status of a success
}

// route is an operation of the EBS direct APIs.
type route struct {
	method    string
	path      *regexp.Regexp // its group is the SnapshotId
	operation string
	status    int
	headers   map[string]string // members by header
}

var routes = []route{
	{http.MethodPost, regexp.MustCompile(`^/snapshots$`), "StartSnapshot", http.StatusCreated, nil},
	{
		http.MethodPost, regexp.MustCompile(`^/snapshots/completion/([^/]+)$`), "CompleteSnapshot", http.StatusAccepted,
		map[string]string{
			"X-Amz-Changedblockscount":          "ChangedBlocksCount",
			"X-Amz-Checksum":                    "Checksum",
			"X-Amz-Checksum-Algorithm":          "ChecksumAlgorithm",
			"X-Amz-Checksum-Aggregation-Method": "ChecksumAggregationMethod",
		},
	},
}

// readRoute finds the operation of a REST request, and its members in path and header.
func (r *Request) readRoute(h *http.Request) error {
	for _, known := range routes {
		groups := known.path.FindStringSubmatch(h.URL.Path)
		if groups == nil || known.method != h.Method {
			continue
		}

		r.Operation, r.rest = known.operation, rest{map[string]string{}, known.status}
		if len(groups) > 1 {
			r.rest.members["SnapshotId"] = groups[1]
		}
		for header, member := range known.headers {
			if values := h.Header.Values(header); len(values) > 0 {
				r.rest.members[member] = values[0]
			}
		}

		return nil
	}

	r.Operation = h.Method + " " + h.URL.Path
	return r.UnknownOperation()
}

// decodeREST reads the body and the members in path and headers.
func (r *Request) decodeREST(into reflect.Value) error {
	if strings.TrimSpace(string(r.Body)) != "" {
		if err := r.decodeJSON(into); err != nil {
			return err
		}
	}

	for name, text := range r.rest.members {
		member := into.FieldByName(name)
		if member.Kind() == reflect.Pointer {
			member.Set(reflect.New(member.Type().Elem()))
			member = member.Elem()
		}
		if !setText(member, text) {
			return r.invalidValue(member, strings.ToLower(name[:1])+name[1:], text)
		}
	}

	return nil
}

// RefuseWithReason is like Refuse, with the reason that some errors of the EBS direct APIs have.
func (r *Request) RefuseWithReason(requestID string, status int, code, message, reason string) *http.Response {
	if !r.api.rest || reason == "" {
		return r.Refuse(requestID, status, code, message)
	}
	return r.refuseREST(requestID, status, code, message, reason)
}

func (r *Request) refuseREST(requestID string, status int, code, message, reason string) *http.Response {
	body := map[string]string{"Message": message}
	if reason != "" {
		body["Reason"] = reason
	}
	answer := r.response(status, requestID, encodeJSON(reflect.ValueOf(body)))
	answer.Header.Set("X-Amzn-Errortype", code)
	return answer
}
