// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import "testing"

// byImage returns options whose targets copy whole images, with changes to the last target.
func byImage(options map[string]any, last map[string]any) map[string]any {
	targets := options["target"].([]any)
	for _, target := range targets {
		target.(map[string]any)["copy_method"] = "image"
	}
	for option, value := range last {
		targets[len(targets)-1].(map[string]any)[option] = value
	}
	return options
}

// Several blocks of one build get their own images, so their client tokens must differ. For a repeated token, AWS
// returns the resource of the first call, even a deleted one. It refuses the token with other parameters.
func TestBlocks_sameClientTokens(t *testing.T) {
	for name, second := range map[string]func(s *stage) map[string]any{
		"another account": func(s *stage) map[string]any { return byImage(s.options(other), nil) },
		"another name": func(s *stage) map[string]any {
			return byImage(s.options(prod), map[string]any{"ami_name": "another"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				if _, err := s.run(s.Context(), byImage(s.options(prod), nil)); err != nil {
					s.Fatal(err)
				}
				s.runs-- // the next block belongs to the same build
				if _, err := s.run(s.Context(), second(s)); err != nil {
					s.Error(err)
				}
			})
		})
	}
}

// The source account has a copy of its own and a copy that is staged for other accounts.
func TestBlocks_sourceAccountAsTarget(t *testing.T) {
	own := map[string]any{"name": "own", "assume_role": nil}
	for name, options := range map[string]func(s *stage) map[string]any{
		"another target": func(s *stage) map[string]any { return byImage(s.options(prod, source), own) },
		"a share block":  func(s *stage) map[string]any { return sharing(byImage(s.options(source), own), other) },
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				if _, err := s.run(s.Context(), options(s)); err != nil {
					s.Error(err)
				}
			})
		})
	}
}
