// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// commandLine implements the part of AWS's command line that the guides use: aws [--profile P] [--region R] SERVICE
// OPERATION --parameter value... An operation or a parameter that AWS does not have is an error.
func commandLine(arguments []string, out, complaints io.Writer) int {
	if err := call(arguments, out); err != nil {
		fmt.Fprintln(complaints, "aws:", err)
		return 1
	}
	return 0
}

func call(arguments []string, out io.Writer) error {
	words, options, err := parsed(arguments)
	if err != nil || len(words) != 2 {
		return errors.Join(err, fmt.Errorf("%q: not a service and an operation", words))
	}
	take := func(name, otherwise string) string {
		values, given := options[name]
		delete(options, name)
		if !given || len(values) != 1 {
			return otherwise
		}
		return values[0]
	}
	signed, err := credentialsOf(take("profile", ""))
	if err != nil {
		return err
	}
	endpoint := os.Getenv("AWS_ENDPOINT_URL")
	config := aws.Config{
		Region:       take("region", region),
		BaseEndpoint: &endpoint,
		Credentials:  signed,
	}
	query, output := take("query", ""), take("output", "json")
	client, known := map[string]any{
		"ec2": ec2.NewFromConfig(config),
		"iam": iam.NewFromConfig(config),
		"kms": kms.NewFromConfig(config),
		"ssm": ssm.NewFromConfig(config),
	}[words[0]]
	if !known {
		return fmt.Errorf("service %s is in no guide", words[0])
	}
	method := named(
		reflect.ValueOf(client).NumMethod(),
		words[1],
		func(i int) string { return reflect.TypeOf(client).Method(i).Name },
	)
	if method < 0 {
		return fmt.Errorf("%s has no operation %s", words[0], words[1])
	}
	do := reflect.ValueOf(client).Method(method)
	in := reflect.New(do.Type().In(1).Elem())
	if err := setAll(in.Elem(), options); err != nil {
		return fmt.Errorf("%s %s: %w", words[0], words[1], err)
	}
	answer := do.Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
	if err, failed := answer[1].Interface().(error); failed {
		return err
	}
	if query == "" {
		return nil
	}
	if output != "text" {
		return fmt.Errorf("--output %s: the guides show text", output)
	}
	var found []string
	for _, path := range strings.Split(strings.Trim(query, "[]"), ",") {
		value, err := at(answer[0], path)
		if err != nil {
			return err
		}
		found = append(found, value)
	}
	_, err = fmt.Fprintln(out, strings.Join(found, "\t"))
	return err
}

// credentialsOf returns those of a profile. Without a profile, a workflow has put them into the environment.
func credentialsOf(profile string) (aws.CredentialsProvider, error) {
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if profile == "" && key != "" {
		return credentials.NewStaticCredentialsProvider(key, secret, ""), nil
	}
	account, known := map[string]string{"source": source, "target": target}[profile]
	if !known {
		return nil, errors.New("neither the source's profile nor the target's")
	}
	return credentials.NewStaticCredentialsProvider(account, "secret", ""), nil
}

// parsed splits a command line into words and options with all their values.
func parsed(arguments []string) (words []string, options map[string][]string, err error) {
	options = map[string][]string{}
	option := ""
	for _, argument := range arguments {
		name, isOption := strings.CutPrefix(argument, "--")
		switch global := option == "profile" || option == "region"; {
		case isOption:
			option = name
			options[name] = nil
		case option == "" || global && len(options[option]) == 1:
			words, option = append(words, argument), ""
		default:
			options[option] = append(options[option], argument)
		}
	}
	return words, options, nil
}

// named returns the index of the name that AWS's command line writes as words: "put-key-policy" is PutKeyPolicy. It
// returns -1 if there is none.
func named(n int, words string, name func(int) string) int {
	for i := range n {
		if strings.EqualFold(name(i), strings.ReplaceAll(words, "-", "")) {
			return i
		}
	}
	return -1
}

// setAll gives the parameters of a request their values.
func setAll(in reflect.Value, options map[string][]string) error {
	for name, values := range options {
		field := named(in.NumField(), name, func(i int) string { return in.Type().Field(i).Name })
		if field < 0 {
			return fmt.Errorf("no parameter --%s", name)
		}
		if err := set(in.Field(field), values); err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
	}
	return nil
}

// set gives a parameter its values, as a text, a file of text (file://) or of bytes (fileb://).
func set(field reflect.Value, values []string) error {
	if field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.String {
		for _, value := range values {
			field.Set(reflect.Append(field, reflect.ValueOf(value).Convert(field.Type().Elem())))
		}
		return nil
	}
	if len(values) == 0 && field.Type() == reflect.TypeFor[*bool]() {
		field.Set(reflect.ValueOf(aws.Bool(true)))
		return nil
	}
	if len(values) != 1 {
		return fmt.Errorf("%d values", len(values))
	}
	value := values[0]
	path, bytes := strings.CutPrefix(value, "fileb://")
	path, text := strings.CutPrefix(path, "file://")
	if bytes || text {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		value = string(content)
	}
	switch {
	case bytes && field.Kind() == reflect.Slice:
		field.SetBytes([]byte(value))
	case bytes:
		return errors.New("takes no bytes")
	case field.Kind() == reflect.String:
		field.SetString(value)
	case field.Type() == reflect.TypeFor[*string]():
		field.Set(reflect.ValueOf(&value))
	default:
		return fmt.Errorf("%s: the guides have none of this type", field.Type())
	}
	return nil
}

// at returns the value of a path such as KeyMetadata.Arn in a response, as the command line prints it. Bytes are
// printed in base64.
func at(answer reflect.Value, path string) (string, error) {
	for name := range strings.SplitSeq(path, ".") {
		answer = reflect.Indirect(answer)
		if answer.Kind() != reflect.Struct || !answer.FieldByName(name).IsValid() {
			return "", fmt.Errorf("--query %s: there is no %s", path, name)
		}
		answer = answer.FieldByName(name)
	}
	if bytes, ok := answer.Interface().([]byte); ok {
		return base64.StdEncoding.EncodeToString(bytes), nil
	}
	return fmt.Sprint(reflect.Indirect(answer).Interface()), nil
}

// openssl replaces openssl on a machine without it. It supports what the guides use: base64 -d, rand, and the wrapping
// of key material.
func openssl(arguments []string, in io.Reader, complaints io.Writer) int {
	value := func(name string) string {
		if i := slices.Index(arguments, name); i >= 0 && i+1 < len(arguments) {
			return arguments[i+1]
		}
		return ""
	}
	content, err := func() ([]byte, error) {
		switch arguments[0] {
		case "base64":
			return io.ReadAll(base64.NewDecoder(base64.StdEncoding, in))
		case "rand":
			made := make([]byte, 32)
			_, err := rand.Read(made)
			return made, err
		case "pkeyutl":
			der, err := os.ReadFile(value("-inkey"))
			if err != nil {
				return nil, err
			}
			public, err := x509.ParsePKIXPublicKey(der)
			if err != nil {
				return nil, err
			}
			material, err := os.ReadFile(value("-in"))
			if err != nil {
				return nil, err
			}
			return rsa.EncryptOAEP(sha256.New(), rand.Reader, public.(*rsa.PublicKey), material, nil)
		}
		return nil, fmt.Errorf("%s is in no guide", arguments[0])
	}()
	if err = errors.Join(err, os.WriteFile(value("-out"), content, 0o600)); err != nil {
		fmt.Fprintln(complaints, "openssl:", err)
		return 1
	}
	return 0
}
