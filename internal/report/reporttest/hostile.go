// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package reporttest

import (
	"reflect"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Hostile are texts that a name, a tag or a message of AWS may contain, and that must not become markup.
var Hostile = []string{
	"<script>alert(1)</script>",
	"</style><script>alert(1)</script>",
	"<img src=x onerror=alert(1)>",
	`"><b onmouseover=alert(1)>`,
	"' onload='alert(1)",
	"<!--",
	"]]>",
	"](javascript:alert(1))",
	"![x](https://example.com/x.png)",
	"[x](https://example.com)",
	"<https://example.com>",
	"https://example.com",
	"www.example.com",
	"@everyone",
	"#1",
	"`code`",
	"```\n# heading",
	"| a | b |",
	"a\n\n# heading\n- list",
	"\r\n> quote",
	"**bold** __bold__ ~~gone~~ $x$ :boom:",
	"{{ .Failure }}",
	"${x}",
	"&lt;b&gt; &#60;b&#62;",
	`x"] --> y; click x "javascript:alert(1)"`,
	"end",
	"%%{init: {}}%%",
	"\x1b[2J\x1b]0;x\x07",
	"\u202egnp.exe",
	"\x00",
}

// Poisoned returns Run with one text for every name, tag and message that is not written by the plugin.
func Poisoned(text string) (plan.Plan, distribution.Result) {
	p, r := Run(3)
	own := []reflect.Type{
		reflect.TypeFor[distribution.AttributeHandling](),
		reflect.TypeFor[distribution.Level](),
		reflect.TypeFor[distribution.State](),
		reflect.TypeFor[distribution.StepID](),
		reflect.TypeFor[distribution.Location](),
	}
	var poison func(v reflect.Value)
	poison = func(v reflect.Value) {
		switch {
		case slices.Contains(own, v.Type()):
		case v.Kind() == reflect.String && v.CanSet():
			v.SetString(text)
		case v.Kind() == reflect.Struct:
			for _, field := range v.Fields() {
				poison(field)
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				poison(v.Index(i))
			}
		case v.Kind() == reflect.Pointer && !v.IsNil():
			poison(v.Elem())
		}
	}

	steps := p.Steps
	p.Steps = nil
	poison(reflect.ValueOf(&p).Elem())
	poison(reflect.ValueOf(&r).Elem())
	for _, s := range steps {
		if device := reflect.ValueOf(s).Elem().FieldByName("Device"); device.IsValid() {
			device.SetString(text)
		}
	}
	p.Steps = steps
	return p, r
}
