// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command structure measures the code and fails if a limit is exceeded.
// It measures sizes, import directions, and how many files a new step or option changes.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	c, err := load()
	if err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(1)
	}

	if !printAll(os.Stdout, measure(c)) {
		os.Exit(1)
	}
}

// printAll prints the measurements and reports whether all limits hold.
func printAll(out io.Writer, measurements []measurement) bool {
	holds := true

	for _, m := range measurements {
		value, limit := strconv.Itoa(m.value), ""
		if m.limit >= 0 {
			limit = fmt.Sprintf("at most %d", m.limit)
		}

		switch {
		case m.absent != "":
			value, m.what = "-", "absent: "+m.absent
		case m.exceeded():
			limit += ", EXCEEDED"
			holds = false
		}

		fmt.Fprintf(out, "%-62s %4s  %-20s %s\n", m.subject, value, limit, m.what)
		if !m.list && !m.exceeded() {
			continue
		}
		for _, where := range m.where {
			fmt.Fprintln(out, "   ", where)
		}
	}

	return holds
}
