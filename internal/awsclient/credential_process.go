// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// processProvider runs the credential_process of a profile. Its errors contain the output of the command, unlike those
// of the SDK. That output is often the only explanation.
type processProvider struct{ command string }

// processError is the error of a credential process.
type processError struct {
	words string // end of what the command wrote to its standard error; empty if it wrote nothing
	err   error
}

func (e *processError) Error() string {
	text := e.err.Error()
	if strings.Contains(text, "parse failed of process output") { // it shows the output, which may hold a secret
		text = "the output of credential_process is not JSON"
	}
	if e.words != "" {
		text += ": " + e.words
	}
	return text
}

func (e *processError) Unwrap() error { return e.err }

// Retrieve runs the command and returns the credentials that it prints.
func (p processProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("credential_process: %w", err)
	}
	words := &lastWords{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		defer func() { _ = reader.Close() }()
		_, _ = io.Copy(io.MultiWriter(words, os.Stderr), reader)
	}()

	build := processcreds.DefaultNewCommandBuilder{Args: []string{p.command}}
	provider := processcreds.NewProviderCommand(processcreds.NewCommandBuilderFunc(
		func(ctx context.Context) (*exec.Cmd, error) {
			command, err := build.NewCommand(ctx)
			if err == nil {
				command.Stderr = writer
			}
			return command, err
		}))
	credentials, err := provider.Retrieve(ctx)
	_ = writer.Close()
	if err == nil {
		return credentials, nil
	}

	select {
	case <-copied:
	case <-time.After(time.Second): // a child of the command still has its standard error open
	}
	return credentials, &processError{words: words.String(), err: err}
}

// lastWords keeps the end of the text that is written to it.
type lastWords struct {
	mu   sync.Mutex
	text string
}

// mostWords is the maximum number of bytes of a command's standard error in a message.
const mostWords = 400

func (w *lastWords) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text += string(text)
	if over := len(w.text) - mostWords; over > 0 {
		w.text = w.text[over:]
	}
	return len(text), nil
}

// String returns the kept end of the text in one line.
func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.ToValidUTF8(strings.Join(strings.Fields(w.text), " "), "")
}

func isProcessError(err error) bool {
	var failed *processError
	var ofSDK *processcreds.ProviderError
	return errors.As(err, &failed) || errors.As(err, &ofSDK)
}
