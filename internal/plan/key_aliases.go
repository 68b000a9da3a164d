// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

const awsManagedKey = "aws/ebs"

// keyAliases returns the name of each key by its ARN: the alias that the template uses, or that of the AWS managed
// key.
func keyAliases(facts distribution.Facts) map[string]string {
	aliases := map[string]string{}
	for _, keys := range facts.Keys {
		for name, key := range keys {
			arn := key.ARN()
			switch alias := aliasOf(name); {
			case arn == "":
			case key.IsManagedByAWS():
				aliases[arn] = awsManagedKey
			case alias != "" && (aliases[arn] == "" || alias < aliases[arn]): // the same one in every run
				aliases[arn] = alias
			}
		}
	}

	return aliases
}

// aliasOf returns "alias/…" of an alias or of its ARN. Empty for the id or ARN of a key.
func aliasOf(name string) string {
	if strings.HasPrefix(name, "alias/") {
		return name
	}
	if _, alias, found := strings.Cut(name, ":alias/"); found {
		return "alias/" + alias
	}
	return ""
}

// KeyName returns how texts name a key: its alias, or the beginning of its id if it has none.
func (p Plan) KeyName(arn string) string {
	id := arn[strings.LastIndex(arn, "/")+1:]
	short := arn
	const shown = 8
	if strings.Contains(arn, ":key/") && len(id) > shown {
		short = "key/" + id[:shown] + "…"
	}
	return cmp.Or(p.KeyAliases[arn], aliasOf(arn), short)
}
