// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// object is a JSON object of a CloudFormation template. Its members are written in alphabetical order.
type object = map[string]any

// Templates returns the CloudFormation templates that set up an account in one Region, by file name. What an account
// needs only once has its own template, so that a stack set can deploy the others to many Regions.
func Templates() map[string][]byte {
	s := Example()
	inSource, inTarget := newAccountTemplates()
	targetRole := parameter("String", "Name of the role in every target account", s.TargetRole)
	return map[string][]byte{
		"source-key.json": template("Key of what is shared. In the source account, in each Region that targets copy from.",
			object{
				"KeyAlias":       parameter("String", "Alias of the key", "alias/golden-source"),
				"TargetAccounts": parameter("CommaDelimitedList", "Accounts that get their own copies", ""),
				"TargetRoleName": targetRole,
			},
			encryption(inSource.tree(s.sourceKey(), nil))),
		"build-role.json": template(
			"Permissions of the role that runs Packer. In the source account, once.",
			object{
				"BuildRoleName": parameter("String", "Name of the role that runs Packer, which exists", s.BuildRole),
				"SharedAccounts": parameter("CommaDelimitedList", "Accounts that anything is shared with: the targets, and those "+
					"of share blocks", ""),
				"SourceKeyArns":  parameter("CommaDelimitedList", "ARNs of the keys of what is shared", ""),
				"TargetRoleName": targetRole,
			},
			object{
				"Policy": resource(
					"AWS::IAM::ManagedPolicy",
					object{"Roles": []any{ref("BuildRoleName")}, "PolicyDocument": inSource.tree(s.build().policy(), nil)},
				),
			},
		),
		"target-key.json": template("Key of the account's own copies. In each target account, in each Region where it gets "+
			"one.",
			object{
				"KeyAlias": parameter("String", "Alias of the key", s.TargetAlias),
				"AutoScaling": object{
					"Type":          "String",
					"AllowedValues": []string{"true", "false"},
					"Default":       "true",
					"Description":   "Whether Auto Scaling launches. Its service-linked role must exist",
				},
			},
			encryption(inTarget.tree(s.targetKey(s.Targets[0]), func(statement object) any {
				if statement["Sid"] == ownAccount {
					return statement
				}
				return object{"Fn::If": []any{"WithAutoScaling", statement, ref("AWS::NoValue")}}
			})),
			object{"WithAutoScaling": object{"Fn::Equals": []any{ref("AutoScaling"), "true"}}}),
		"target-role.json": template("Role that copies. In every target account, once.",
			object{
				"SourceAccount":  parameter("String", "Account of the build", ""),
				"BuildRoleName":  parameter("String", "Name of the role that runs Packer in it", s.BuildRole),
				"ExternalId":     object{"Type": "String", "NoEcho": true, "Description": "External id that the build role gives"},
				"SourceKeyArns":  parameter("CommaDelimitedList", "ARNs of the keys of what is shared", ""),
				"TargetRoleName": parameter("String", "Name of the role", s.TargetRole),
				"Users": parameter("CommaDelimitedList", "Accounts of ami_users; where there are none, the target "+
					"account itself", ""),
				"KeyAlias": parameter("String", "Alias of the account's own key", s.TargetAlias),
			},
			object{"Role": resource("AWS::IAM::Role", object{
				"RoleName": ref("TargetRoleName"), "AssumeRolePolicyDocument": inTarget.tree(s.trust(), nil),
				"Policies": []any{object{"PolicyName": "copy", "PolicyDocument": inTarget.tree(s.target().policy(), nil)}},
			})}),
	}
}

func parameter(kind, description, standard string) object {
	p := object{"Type": kind, "Description": description}
	if standard != "" {
		p["Default"] = standard
	}
	return p
}

func ref(name string) object { return object{"Ref": name} }

func resource(kind string, properties object) object {
	return object{"Type": kind, "Properties": properties}
}

// encryption returns a key and its alias. The key is kept when its stack is deleted, because images depend on it.
func encryption(policy object) object {
	key := resource("AWS::KMS::Key", object{"EnableKeyRotation": true, "KeyPolicy": policy})
	key["DeletionPolicy"], key["UpdateReplacePolicy"] = "Retain", "Retain"
	return object{
		"Key":   key,
		"Alias": resource("AWS::KMS::Alias", object{"AliasName": ref("KeyAlias"), "TargetKeyId": object{"Ref": "Key"}}),
	}
}

func template(description string, parameters, resources object, conditions ...object) []byte {
	whole := object{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              description,
		"Parameters":               parameters,
		"Resources":                resources,
	}
	for _, c := range conditions {
		whole["Conditions"] = c
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(whole); err != nil {
		panic(err) // texts only
	}
	return out.Bytes()
}

// accountTemplates puts CloudFormation parameters in place of the example values in the policies of one account.
type accountTemplates struct {
	lists map[string]string // elements, with commas between them -> parameter that is a list
	texts []string          // text, and its replacement
}

func newAccountTemplates() (source, target accountTemplates) {
	s := Example()
	both := []string{
		"arn:aws:",
		"arn:${AWS::Partition}:",
		s.BuildRole,
		"${BuildRoleName}",
		s.TargetRole,
		"${TargetRoleName}",
		s.TargetAlias,
		"${KeyAlias}",
		s.ExternalID,
		"${ExternalId}",
		"${aws:",
		"${!aws:",
	}
	key, shared := s.SourceKeyARNs[0], strings.Join(distinct(slices.Concat(s.Targets, s.Users)), ",")
	source = accountTemplates{
		map[string]string{key: "SourceKeyArns", s.root(s.Targets[0]): "TargetAccounts", shared: "SharedAccounts"},
		append([]string{s.SourceAccount, "${AWS::AccountId}", s.Targets[0], "*", s.Users[0], "*"}, both...),
	}
	target = accountTemplates{
		map[string]string{key: "SourceKeyArns", s.Users[0]: "Users"},
		append([]string{s.SourceAccount, "${SourceAccount}", s.Targets[0], "${AWS::AccountId}"}, both...),
	}
	return source, target
}

// tree returns a policy of the example with parameters instead of the values of the example. each may change its
// statements.
func (in accountTemplates) tree(d Document, each func(object) any) object {
	var policy object
	if err := json.Unmarshal(d.Text(), &policy); err != nil {
		panic(err) // cannot fail: the text is that of a policy
	}
	for i, statement := range policy["Statement"].([]any) {
		statement = in.put(statement)
		if each != nil {
			statement = each(statement.(object))
		}
		policy["Statement"].([]any)[i] = statement
	}
	return policy
}

// put replaces texts by parameters.
func (in accountTemplates) put(v any) any {
	switch v := v.(type) {
	case object:
		for name, member := range v {
			v[name] = in.put(member)
		}
	case []any:
		if parameter := in.lists[joined(v)]; parameter != "" {
			return ref(parameter)
		}
		for i := range v {
			v[i] = in.put(v[i])
		}
		// the two accounts of the example have become the same parameter
		return slices.CompactFunc(v, reflect.DeepEqual)
	case string:
		if text := strings.NewReplacer(in.texts...).Replace(v); text != v {
			return sub(text)
		}
	}
	return v
}

func joined(list []any) string {
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ",")
}

func sub(text string) object { return object{"Fn::Sub": text} }
