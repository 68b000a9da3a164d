// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestLicencesAreKnownByTheirWords(t *testing.T) {
	const bsd = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted"
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                 "Apache-2.0",
		"Mozilla Public License, version 2.0":                          "MPL-2.0",
		"Permission is hereby granted, free\nof charge, to any person": "MIT",
		bsd: "BSD-2-Clause",
		bsd + "\nNeither the name of the copyright holder":                                        "BSD-3-Clause",
		"Permission to use, copy, modify, and/or distribute this software":                        "ISC",
		"Permission is hereby granted, free of charge ... Apache License, Version 2.0, for files": "Apache-2.0, MIT",
	} {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "LICENSE.txt"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, err := license(folder); got != want || err != nil {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestALicenceThatNobodyKnowsIsAnError(t *testing.T) {
	folder := t.TempDir()
	if got, err := license(folder); err == nil {
		t.Errorf("none is %q", got)
	}
	if err := os.WriteFile(filepath.Join(folder, "LICENSE"), []byte("All rights reserved."), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := license(folder); err == nil {
		t.Errorf("all rights reserved is %q", got)
	}
}

func TestABillOfMaterialsIsOfTheBinary(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bill.json")
	if err := writeBill(path, binary); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bill
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Metadata.Component.Name != filepath.Base(binary) || len(b.Metadata.Component.Hashes) != 1 {
		t.Errorf("%+v", b)
	}
	if std := b.Components[0]; std.PURL != "pkg:golang/std@"+strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("%+v", std)
	}
}
