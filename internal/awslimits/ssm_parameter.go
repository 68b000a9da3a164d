// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awslimits

import (
	"fmt"
	"strings"
)

// Subjects of SSM parameters.
const (
	ParameterName        Subject = "parameter name"
	ParameterLevels      Subject = "levels of a parameter name"
	ParameterNameAndARN  Subject = "parameter name with its ARN"
	ParameterType        Subject = "parameter type"
	ParameterDataType    Subject = "parameter data type"
	ParameterDataAndType Subject = "parameter data type with its type"
	ParameterTier        Subject = "parameter tier"
	ParameterDescription Subject = "parameter description"
	ParameterKeyID       Subject = "parameter key"
	ParameterTags        Subject = "parameter tags"
	ParameterTagKey      Subject = "parameter tag key"
	ParameterTagValue    Subject = "parameter tag value"
)

const (
	putParameter  = "Systems Manager API reference and model, PutParameter"
	parameterName = "Systems Manager API reference, PutParameter, Name; rule 7.7"
	parameterTag  = "Systems Manager API model, Tag"
)

var _ = add([]Limit{
	{Subject: ParameterName, Kind: Prefix, Words: "aws", Source: parameterName},
	{Subject: ParameterName, Kind: Prefix, Words: "/aws", Source: parameterName},
	{Subject: ParameterName, Kind: Prefix, Words: "ssm", Source: parameterName},
	{Subject: ParameterName, Kind: Prefix, Words: "/ssm", Source: parameterName},
	{
		Subject: ParameterName, Kind: Characters,
		Words:   "letters, digits and . - _, and a slash before each level",
		Pattern: pattern(`^/?[\w.-]+(?:/[\w.-]+)*$`), Refused: "/golden ami", Source: parameterName,
	},
	{Subject: ParameterLevels, Kind: MaxCount, Number: 15, Words: "levels", Source: parameterName},
	{Subject: ParameterNameAndARN, Kind: Combination, Number: 1011, Source: parameterName},
	{
		Subject: ParameterType, Kind: OneOf, Values: []string{"String", "SecureString"}, Refused: "StringList",
		Source: putParameter + ", Type: a list holds no single image",
	},
	{
		Subject: ParameterDataType, Kind: OneOf, Values: []string{"aws:ec2:image", "text"}, Refused: "aws:ssm:integration",
		Source: putParameter + ", DataType; rule 7.1",
	},
	{
		Subject: ParameterDataAndType, Kind: Combination, Refused: "aws:ec2:image",
		Source: putParameter + ", DataType; rule 7.1, aws:ec2:image is for String parameters only",
	},
	{
		Subject: ParameterTier,
		Kind:    OneOf,
		Values:  []string{"Standard", "Advanced", "Intelligent-Tiering"},
		Refused: "Cheap",
		Source:  putParameter + ", Tier",
	},
	{Subject: ParameterDescription, Kind: MaxLength, Number: 1024, Source: putParameter + ", Description"},
	{Subject: ParameterKeyID, Kind: MaxLength, Number: 256, Source: putParameter + ", KeyId"},
	{
		Subject: ParameterKeyID, Kind: Characters, Words: "letters, digits and :/_-", Pattern: keyText,
		Refused: "alias/golden key", Source: putParameter + ", KeyId",
	},
	{
		Subject: ParameterTags, Kind: MaxCount, Number: 50, Words: "tags",
		Source: "Systems Manager API reference, AddTagsToResource: at most 50 tags of a resource",
	},
	{Subject: ParameterTagKey, Kind: MinLength, Number: 1, Source: parameterTag + ", Key"},
	{Subject: ParameterTagKey, Kind: MaxLength, Number: 128, Source: parameterTag + ", Key"},
	{Subject: ParameterTagKey, Kind: Prefix, Words: "aws:", Source: "Systems Manager user guide, tagging resources"},
	{
		Subject: ParameterTagKey, Kind: Characters, Words: tagCharacters, Pattern: tagText, Refused: "cost*",
		Source: parameterTag + ", Key",
	},
	{Subject: ParameterTagValue, Kind: MaxLength, Number: 256, Source: parameterTag + ", Value"},
	{
		Subject: ParameterTagValue, Kind: Characters, Words: tagCharacters, Pattern: tagText, Refused: "a,b",
		Source: parameterTag + ", Value",
	},
})

// CheckParameterName returns an error if Parameter Store refuses a name. Its text follows the name in a message. The
// name must fit into an ARN that begins with arnBeforeName, which is empty if it is unknown.
func CheckParameterName(name, arnBeforeName string) error {
	levels := strings.Split(strings.TrimPrefix(name, "/"), "/")
	switch most := Number(ParameterLevels, MaxCount); {
	case len(levels) > 1 && !strings.HasPrefix(name, "/"):
		return fmt.Errorf("has levels and does not begin with a slash")
	case len(levels) > most:
		return fmt.Errorf("has %d levels, AWS allows %d", len(levels), most)
	}
	if err := Check(ParameterName, name); err != nil {
		return err
	}
	most := Number(ParameterNameAndARN, Combination)
	if n := len(arnBeforeName) + len(strings.TrimPrefix(name, "/")); n > most {
		return fmt.Errorf("has %d characters with its ARN, AWS allows %d", n, most)
	}
	return nil
}

// CheckParameterType returns an error if a parameter of a type cannot have a data type.
func CheckParameterType(parameterType, dataType string) error {
	if dataType == "aws:ec2:image" && parameterType != "String" {
		return fmt.Errorf("is a data type of String parameters only")
	}
	return nil
}
