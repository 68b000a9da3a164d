// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package wire reads AWS requests into the SDK's input structs and writes responses from its output structs.
//
// One codec, by reflection, serves the protocols ec2query (EC2), query (STS, IAM), JSON 1.1 (KMS, SSM, Organizations)
// and REST-JSON (EBS direct APIs). Command names generates the names of parameters and elements from the SDK's
// serializers.
package wire

//go:generate go run ./names

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// Request is a signed AWS request. Decode reads its parameters.
type Request struct {
	// Service is the service in the credential scope: ec2, ebs, sts, iam, kms, ssm, organizations or license-manager.
	Service      string
	Region       string // from the credential scope, such as us-east-1
	AccessKeyID  string // from the credential scope
	SessionToken string // empty for long-term credentials
	SignedAt     time.Time
	Expires      time.Duration // X-Amz-Expires of a presigned URL
	Operation    string        // the parameter Action, or the last part of X-Amz-Target
	Body         []byte        // as sent

	api  api
	form *node // parameters of a query request; nil in JSON
	rest rest  // members outside the body of a REST request
}

// Error is an error response of AWS. Request.Refuse sends it.
type Error struct {
	Status        int // HTTP status
	Code, Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Parse reads a request. It does not verify the signature. An error is an *Error that can be sent. Then the Request
// holds what could be read, so that Refuse can use the caller's protocol.
func Parse(h *http.Request) (*Request, error) {
	target := h.Header.Get("X-Amz-Target")
	r := &Request{api: api{json: target != ""}}
	if h.Body != nil {
		body, err := io.ReadAll(h.Body)
		if err != nil {
			return r, &Error{http.StatusBadRequest, "RequestTimeout", "The body of the request did not arrive: " + err.Error()}
		}
		r.Body = body
	}

	query, err := url.ParseQuery(h.URL.RawQuery)
	if err != nil {
		return r, malformedQuery(err)
	}
	if err := r.readSignature(h.Header, query); err != nil {
		return r, err
	}
	if r.api.rest {
		return r, r.readRoute(h)
	}

	if r.api.json {
		prefix, operation, _ := strings.Cut(target, ".")
		if prefix != r.api.target || operation == "" {
			return r, r.UnknownOperation()
		}
		r.Operation = operation
		return r, nil
	}

	return r, r.readForm(query)
}

// readSignature reads the credential scope from the header or from a presigned URL.
func (r *Request) readSignature(header http.Header, query url.Values) error {
	credential := query.Get("X-Amz-Credential")
	r.SessionToken = query.Get("X-Amz-Security-Token")
	if authorization := header.Get("Authorization"); authorization != "" {
		_, after, _ := strings.Cut(authorization, "Credential=")
		credential, _, _ = strings.Cut(after, ",")
		r.SessionToken = header.Get("X-Amz-Security-Token")
	} else if credential == "" {
		return r.unsigned(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}

	scope := strings.Split(strings.TrimSpace(credential), "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return r.unsigned(
			http.StatusBadRequest, "IncompleteSignature",
			fmt.Sprintf("Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request, got: %q", credential),
		)
	}

	r.AccessKeyID, r.Region, r.Service = scope[0], scope[2], scope[3]
	api, known := apis[r.Service]
	if !known || api.json != r.api.json {
		return &Error{
			http.StatusBadRequest, "InvalidAction",
			fmt.Sprintf("The service %q does not take requests of this form.", r.Service),
		}
	}

	r.api = api
	return r.readSigningTime(header, query)
}

// Decode sets in, a pointer to the SDK's input struct of the operation. It returns parameters that the SDK keeps in
// unexported members by wire name, such as DestinationRegion of CopySnapshot. It refuses unknown parameters and
// enumeration values with an *Error. An empty string is a pointer to "", not nil (rule 1.1.11).
func (r *Request) Decode(in any) (extras map[string]string, err error) {
	into := reflect.ValueOf(in).Elem()
	if into.Type().Name() != r.Operation+"Input" {
		return nil, r.UnknownOperation()
	}
	if r.api.rest {
		return nil, r.decodeREST(into)
	}
	if r.api.json {
		return nil, r.decodeJSON(into)
	}

	d := formDecoder{request: r, names: r.api.names()}
	err = d.structure(into, r.form, "")
	return d.extras, err
}

// Answer returns the HTTP response for out, a pointer to the SDK's output struct of the operation. Nil members are left
// out. The body is never empty, because the SDK reads an empty body as an empty output.
func (r *Request) Answer(requestID string, out any) *http.Response {
	v := reflect.ValueOf(out).Elem()
	if r.api.rest {
		return r.response(r.rest.status, requestID, encodeJSON(v))
	}
	if r.api.json {
		return r.response(http.StatusOK, requestID, encodeJSON(v))
	}

	w := xmlWriter{names: r.api.names()}
	w.within(r.Operation+"Response", r.api.namespace, func() {
		if r.api.ec2 {
			w.text("requestId", requestID)
			w.members(v)
			return
		}
		w.within(r.Operation+"Result", "", func() { w.members(v) })
		w.within("ResponseMetadata", "", func() { w.text("RequestId", requestID) })
	})

	return r.response(http.StatusOK, requestID, w.Bytes())
}

// Refuse returns the HTTP response for an error, in the protocol of the service.
func (r *Request) Refuse(requestID string, status int, code, message string) *http.Response {
	if r.api.rest {
		return r.refuseREST(requestID, status, code, message, "")
	}

	if r.api.json {
		resp := r.response(
			status, requestID, encodeJSON(reflect.ValueOf(map[string]string{"__type": code, "message": message})),
		)
		resp.Header.Set("X-Amzn-Errortype", code)
		return resp
	}

	var w xmlWriter
	w.refusal(r.api, requestID, code, message)
	return r.response(status, requestID, w.Bytes())
}

// UnknownOperation returns the error for an operation that the service does not have.
func (r *Request) UnknownOperation() *Error {
	switch {
	case r.api.json || r.api.rest:
		return &Error{
			http.StatusBadRequest, "UnknownOperationException",
			fmt.Sprintf("The operation %q is not known to %s.", r.Operation, r.Service),
		}
	case r.api.ec2:
		return &Error{
			http.StatusBadRequest, "InvalidAction", fmt.Sprintf("The action %s is not valid for this web service.", r.Operation),
		}
	default:
		return &Error{
			http.StatusBadRequest, "InvalidAction",
			fmt.Sprintf("Could not find operation %s for version %s", r.Operation, r.api.version),
		}
	}
}

func (r *Request) response(status int, requestID string, body []byte) *http.Response {
	contentType := "text/xml;charset=UTF-8"
	switch {
	case r.api.rest:
		contentType = "application/json"
	case r.api.json:
		contentType = "application/x-amz-json-1.1"
	}

	return &http.Response{
		StatusCode:    status,
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {contentType}, "X-Amzn-Requestid": {requestID}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// unknownParameter returns the error for a parameter that no member reads. Only EC2 refuses it on AWS. The simulator
// refuses it in every service, so that no test passes without checking anything.
func (r *Request) unknownParameter(path string) *Error {
	return &Error{http.StatusBadRequest, "UnknownParameter", fmt.Sprintf("The parameter %s is not recognized", path)}
}

// invalidValue returns the error for a value that its member cannot hold.
func (r *Request) invalidValue(of reflect.Value, path, value string) *Error {
	if r.api.ec2 {
		return &Error{
			http.StatusBadRequest, "InvalidParameterValue", fmt.Sprintf("Value (%s) for parameter %s is invalid.", value, path),
		}
	}

	if of.CanInt() && !r.api.json && !r.api.rest { // not a number, or too large for one
		return &Error{http.StatusBadRequest, "MalformedInput", "Invalid value '" + value + "' for " + path}
	}

	code, constraint := "ValidationError", "Member must be of type "+of.Type().String()
	if r.api.json || r.api.rest {
		code = "ValidationException"
	}
	if known, isEnum := enumValues(of); isEnum {
		constraint = "Member must satisfy enum value set: [" + strings.Join(known, ", ") + "]"
	}

	return &Error{
		http.StatusBadRequest, code,
		fmt.Sprintf(
			"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, path, constraint,
		),
	}
}

// unsigned returns the error for a request whose service is not known.
func (r *Request) unsigned(status int, code, message string) *Error {
	if r.api.json {
		return &Error{http.StatusBadRequest, code + "Exception", message}
	}
	return &Error{status, code, message}
}

func malformedQuery(err error) *Error {
	return &Error{http.StatusNotFound, "MalformedQueryString", "The query string contains a syntax error: " + err.Error()}
}
