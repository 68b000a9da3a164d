// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

// respond encodes the outcome of a call. It returns an error that is not a response, such as a broken connection.
func (w *World) respond(c *Call, out any, err error) (*http.Response, error) {
	var refusal *APIError
	var malformed *wire.Error
	switch {
	case err == nil:
		answer := c.request.Answer(c.ID, out)
		c.status = answer.StatusCode
		w.setDate(c, answer)
		switch c.fault {
		case TruncatedResponse:
			answer.Body = truncate(answer.Body)
		case EmptyResponse, ProxyResponse:
			answer = emptyBody(answer)
		}
		return answer, nil
	case errors.As(err, &malformed):
		refusal = &APIError{Status: malformed.Status, Code: malformed.Code, Message: malformed.Message}
	case !errors.As(err, &refusal):
		return nil, err
	}

	c.status, c.errorCode = refusal.Status, refusal.Code
	answer := c.request.RefuseWithReason(c.ID, refusal.Status, refusal.Code, refusal.Message, refusal.Reason)
	w.setDate(c, answer)
	return answer, nil
}

// writeResponse writes a response to a server's connection.
func writeResponse(out http.ResponseWriter, answer *http.Response) {
	maps.Copy(out.Header(), answer.Header)
	out.WriteHeader(answer.StatusCode)
	_, err := io.Copy(out, answer.Body)
	_ = answer.Body.Close()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		// An injected fault breaks the connection. A client that has gone does not need the rest.
		panic(http.ErrAbortHandler)
	}
}

// truncate returns the first half of a body, followed by an error of the connection.
func truncate(body io.Reader) io.ReadCloser {
	whole, _ := io.ReadAll(body) // reads from memory
	return io.NopCloser(truncatedReader{bytes.NewReader(whole[:len(whole)/2])})
}

// truncatedReader returns an error instead of the end.
type truncatedReader struct{ io.Reader }

func (b truncatedReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
