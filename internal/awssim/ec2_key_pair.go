// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var keyPairOperations = []namedOperation{
	newOperation((*World).createKeyPair),
	newOperation((*World).deleteKeyPair),
	newOperation((*World).describeKeyPairs),
}

// createKeyPair always returns an Ed25519 private key. No client logs in to a simulated instance, and RSA keys take
// time to generate.
func (w *World) createKeyPair(c *Call, in *ec2.CreateKeyPairInput) (*ec2.CreateKeyPairOutput, error) {
	if aws.ToString(in.KeyName) == "" {
		return nil, missingParameter("KeyName")
	}

	loc := c.location()
	if err := w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeKeyPair); err != nil {
		return nil, err
	}

	err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, newAuthorization(c, loc, "key-pair/"+*in.KeyName))...)
	if err != nil {
		return nil, err
	}
	if _, ok := w.findKeyPair(loc, *in.KeyName); ok {
		return nil, badRequest("InvalidKeyPair.Duplicate", "The keypair already exists")
	}

	id := w.newID(c, "key-")
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], w.random("key pair", id))
	digest := sha256.Sum256(seed[:])
	encoded, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(digest[:]))
	if err != nil {
		return nil, err
	}

	info := &types.KeyPairInfo{
		KeyPairId:      &id,
		KeyName:        in.KeyName,
		KeyType:        cmp.Or(in.KeyType, types.KeyTypeRsa),
		CreateTime:     aws.Time(c.At),
		KeyFingerprint: aws.String(base64.StdEncoding.EncodeToString(digest[:])),
	}

	w.keyPairs.put(id, keyPair{loc, info})
	return &ec2.CreateKeyPairOutput{
		KeyPairId:      &id,
		KeyName:        in.KeyName,
		KeyFingerprint: info.KeyFingerprint,
		Tags:           w.tagNewResource(c, id, types.ResourceTypeKeyPair, in.TagSpecifications),
		KeyMaterial:    aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))),
	}, nil
}

type keyPair struct {
	location location
	*types.KeyPairInfo
}

func (w *World) findKeyPair(loc location, name string) (keyPair, bool) {
	for _, pair := range w.keyPairs.all {
		if pair.location == loc && *pair.KeyName == name {
			return pair, true
		}
	}
	return keyPair{}, false
}

func (w *World) deleteKeyPair(c *Call, in *ec2.DeleteKeyPairInput) (*ec2.DeleteKeyPairOutput, error) {
	loc := c.location()
	pair, ok := w.keyPairs.get(aws.ToString(in.KeyPairId))
	if in.KeyPairId == nil {
		pair, ok = w.findKeyPair(loc, aws.ToString(in.KeyName))
	}

	resource := cmp.Or(aws.ToString(in.KeyName), "*")
	if ok {
		resource = *pair.KeyName
	}
	if err := w.authorize(c, newAuthorization(c, loc, "key-pair/"+resource)); err != nil {
		return nil, err
	}

	out := &ec2.DeleteKeyPairOutput{Return: aws.Bool(true)} // deleting an unknown key pair is not an error
	if ok && pair.location == loc {
		w.keyPairs.remove(*pair.KeyPairId)
		delete(w.resources, *pair.KeyPairId)
		c.changedIDs = append(c.changedIDs, *pair.KeyPairId)
		out.KeyPairId = pair.KeyPairId
	}

	return out, nil
}

func (w *World) describeKeyPairs(c *Call, in *ec2.DescribeKeyPairsInput) (*ec2.DescribeKeyPairsOutput, error) {
	if err := refuseUnmodeled(in, "KeyNames", "Filters"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	for _, name := range in.KeyNames {
		if _, ok := w.findKeyPair(c.location(), name); !ok {
			return nil, badRequest("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
		}
	}

	var seen []types.KeyPairInfo
	for id, pair := range w.keyPairs.all {
		if pair.location == c.location() && (len(in.KeyNames) == 0 || slices.Contains(in.KeyNames, *pair.KeyName)) {
			view := *pair.KeyPairInfo
			view.Tags = w.tagsOf(id)
			seen = append(seen, view)
		}
	}

	seen, err := keyPairFilters.filter(seen, in.Filters)
	return &ec2.DescribeKeyPairsOutput{KeyPairs: seen}, err
}

var keyPairFilters = filterFields[types.KeyPairInfo]{
	tags: func(k types.KeyPairInfo) []types.Tag { return k.Tags },
	values: map[string]func(types.KeyPairInfo) []string{
		"key-name":    func(k types.KeyPairInfo) []string { return []string{*k.KeyName} },
		"key-pair-id": func(k types.KeyPairInfo) []string { return []string{*k.KeyPairId} },
	},
}
