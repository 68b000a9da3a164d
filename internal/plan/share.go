// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// SharePlan describes the result of the share blocks in one Region.
type SharePlan struct {
	At      distribution.Location // source account and Region
	Names   []string              // of the share blocks, in the order of the template
	ImageID string
	Staged  bool // a copy of the image under another key is shared
	With    distribution.LaunchPermissions
	Shared  string // existing image that is shared with all of them. Empty if there is none
	// Pointers are the parameters of the share blocks, and whether they name the existing image.
	Pointers []distribution.Pointer
	Grants   []distribution.KeyGrantResult // that the accounts create on the keys, without IDs
}

func shareLaunchPermissions(s distribution.Share) distribution.LaunchPermissions {
	return distribution.LaunchPermissions{}.And(distribution.LaunchPermissions{
		Accounts:      s.AccountIDs,
		Organizations: s.OrganizationARNs,
		Units:         s.OrganizationalUnits,
	})
}

// sharePlans returns the results of the share blocks.
func (a *Assessment) sharePlans(sources []*shareSource, granters []distribution.Destination) []SharePlan {
	var names []string
	for _, share := range a.req.Shares {
		names = append(names, share.Name)
	}

	var plans []SharePlan
	for _, s := range sources {
		if !s.permanent.IsEmpty() {
			planned := SharePlan{
				At:       s.location,
				Names:    names,
				ImageID:  imageID(a.req, s.region),
				Staged:   s.stagesImage,
				With:     s.permanent,
				Shared:   s.existingImageID,
				Pointers: a.sharePointers(s),
			}
			for _, d := range granters {
				planned.Grants = append(planned.Grants, grantsShared(d, []*shareSource{s})...)
			}
			plans = append(plans, planned)
		}
	}

	return plans
}

// launchFindings returns notes about permissions that sharing cannot give. A launch with the source account's keys
// needs the key policy and an identity policy (rules 2.2.6, 3.1.6, 3.2.1 and 8.3).
func launchFindings(
	facts distribution.Facts,
	sources []*shareSource,
	granters []distribution.Destination,
) []distribution.Finding {
	var found []distribution.Finding
	for _, s := range sources {
		if s.permanent.IsEmpty() {
			continue
		}
		for _, key := range s.keys() {
			f := distribution.Finding{
				Level:     distribution.Note,
				Code:      distribution.CodeSharedKeyAccess,
				Reference: "3.1.6",
				Location:  s.location,
				Resource:  key,
				Summary:   "who launches the shared image needs access to its key",
				Detail: "sharing an AMI does not share its key; a launch uses the key with the permissions of the account " +
					"that launches",
				Remediation: "add each statement to the policy named above it, unless it is there already; for " +
					"Auto Scaling in another account, add a kms_grant block to the share block",
			}

			f.PolicyStatements = launchStatements(
				facts.Source,
				key,
				s.permanent,
				slices.DeleteFunc(
					slices.Clone(granters),
					func(d distribution.Destination) bool { return d.At.Region != s.location.Region },
				),
			)

			found = append(found, f)
		}
	}

	return found
}

// keys returns the keys of the shared image, sorted.
func (s *shareSource) keys() []string {
	var keys []string
	for _, v := range s.items {
		key := v.key()
		if v.isStaged {
			key = s.keyARN
		}
		if key != "" {
			keys = append(keys, key)
		}
	}
	return distribution.Union(keys, nil)
}

// These are the key permissions that a launch needs (rule 3.1.6). Organizations need more (rule 2.2.6). EC2 also
// creates a grant for the caller (rule 3.2.3), so the statement allows only AWS services to create grants.
var (
	launchActions       = []string{"kms:DescribeKey", "kms:ReEncrypt*", "kms:Decrypt"}
	organizationActions = []string{
		"kms:Describe*",
		"kms:List*",
		"kms:Get*",
		"kms:Encrypt",
		"kms:Decrypt",
		"kms:ReEncrypt*",
		"kms:GenerateDataKey*",
	}
	grantActions = []string{"kms:CreateGrant"}
)

// launchStatements returns the key policy statements for principals that launch, and for those that create grants.
func launchStatements(
	owner distribution.CallerIdentity,
	key string,
	with distribution.LaunchPermissions,
	granters []distribution.Destination,
) (all []distribution.Addition) {
	add := func(to string, s distribution.Statement) {
		s.Effect = "Allow"
		all = append(all, distribution.Addition{Policy: to, Statement: s})
	}
	keyPolicy := "policy of " + key
	use := func(
		to, sid string,
		principal distribution.Principals,
		actions []string,
		resource string,
		when distribution.Condition,
	) {
		add(
			to,
			distribution.Statement{
				Sid:       sid,
				Principal: principal,
				Action:    actions,
				Resource:  []string{resource},
				Condition: when,
			},
		)
		add(
			to,
			distribution.Statement{
				Sid:       "AWS" + sid,
				Principal: principal,
				Action:    grantActions,
				Resource:  []string{resource},
				Condition: distribution.ForAWS().And(when),
			},
		)
	}

	if len(with.Accounts) > 0 {
		use(keyPolicy, "LaunchSharedImages", roots(owner.Partition, with.Accounts), launchActions, "*", nil)
	}

	if len(with.Organizations) > 0 {
		use(
			keyPolicy,
			"LaunchSharedImagesInOrganizations",
			distribution.Everyone,
			organizationActions,
			"*",
			distribution.Condition{"StringEquals": {"aws:PrincipalOrgID": lastParts(with.Organizations)}},
		)
	}

	if len(with.Units) > 0 {
		var paths []string
		for _, arn := range with.Units { // arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890
			parts := strings.Split(arn, "/")
			paths = append(paths, parts[1]+"/*/"+parts[len(parts)-1]+"/*")
		}

		use(
			keyPolicy,
			"LaunchSharedImagesInUnits",
			distribution.Everyone,
			organizationActions,
			"*",
			distribution.Condition{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": paths}},
		)
	}

	for _, d := range granters {
		for i, alone := range grantConditions(d) {
			add(
				keyPolicy,
				distribution.Statement{
					Sid:       fmt.Sprintf("GrantUseOfSharedKey%sBy%d", d.At.Account, i+1),
					Principal: roots(owner.Partition, []string{d.At.Account}),
					Action:    grantActions,
					Resource:  []string{"*"},
					Condition: alone,
				},
			)
		}
	}

	use("identity policy of who launches, in each of those accounts", "LaunchSharedImages", nil, launchActions, key, nil)
	for _, d := range granters {
		for i, alone := range grantConditions(d) {
			add(
				fmt.Sprintf("identity policy of %s, which makes the grants", cmp.Or(lastRole(d), d.At.Account)),
				distribution.Statement{
					Sid:       fmt.Sprintf("GrantUseOfSharedKeyBy%d", i+1),
					Action:    grantActions,
					Resource:  []string{key},
					Condition: alone,
				},
			)
		}
	}

	return all
}

func roots(partition string, accounts []string) distribution.Principals {
	var arns distribution.Principals
	for _, account := range accounts {
		arns = append(arns, fmt.Sprintf("arn:%s:iam::%s:root", partition, account))
	}
	return arns
}

func lastParts(arns []string) []string {
	var ids []string
	for _, arn := range arns {
		ids = append(ids, arn[strings.LastIndex(arn, "/")+1:])
	}
	return ids
}

// stagedName returns the name of a staged image. It shortens the source's name and appends a unique part, because a
// name can be used only once.
func stagedName(name, whose string) string {
	mark := " (staged " + whose[:12] + ")"
	return name[:min(len(name), 128-len(mark))] + mark
}

// permanentShareFindings returns notes about accounts that share blocks of earlier runs gave access, and that this
// run's share blocks do not name.
func (a *Assessment) permanentShareFindings() []distribution.Finding {
	var named []string
	for _, share := range a.req.Shares {
		named = append(named, share.AccountIDs...)
	}

	var found []distribution.Finding
	add := func(region, resource string, permitted []string) {
		accounts := distribution.Without(provenance.Permanent(tagMap(a.facts.Images[region].Image.Tags)), named)
		accounts = distribution.Without(accounts, distribution.Without(accounts, permitted))
		if len(accounts) == 0 {
			return
		}

		found = append(found, distribution.Finding{
			Level:       distribution.Note,
			Code:        distribution.CodeShareKept,
			Location:    distribution.Location{Account: a.facts.Source.Account, Region: region},
			Resource:    resource,
			Summary:     resource + " stays shared with " + strings.Join(accounts, ", "),
			Detail:      "a share block of an earlier run shared it, and this run has no such block",
			Remediation: "withdraw the permission yourself if it is not needed",
		})
	}

	for _, region := range sortedKeys(a.facts.Images) {
		image := a.facts.Images[region]
		if image.Image == nil {
			continue
		}
		add(region, aws.ToString(image.Image.ImageId), image.SharedWith.Accounts)
		for _, id := range sortedKeys(image.Snapshots) {
			add(region, id, image.Snapshots[id].SharedWith)
		}
	}

	return found
}

// sharedImage returns the image that is already shared permanently with all accounts of share blocks, including its
// snapshots. Empty if there is none.
func (s *shareSource) sharedImage(a *Assessment) string {
	source := a.facts.Images[s.region]
	if s.permanent.IsEmpty() || source.Image == nil {
		return ""
	}

	permanent := provenance.Permanent(tagMap(source.Image.Tags))
	image, with := aws.ToString(source.Image.ImageId), source.SharedWith
	with.Accounts = permanentAccounts(with.Accounts, source.Image.Tags, permanent)
	snapshots := map[string][]string{}
	for _, v := range s.items {
		snapshots[v.id()] = v.permanentAccounts()
	}

	if s.stagesImage {
		staged := a.stagedImages(s).use
		if staged == nil || len(distribution.Without(s.permanent.Accounts, permanent)) > 0 {
			return ""
		}
		image, snapshots = aws.ToString(staged.ImageId), map[string][]string{}
		with = a.facts.Earlier[s.location].LaunchPermissions[image]
		for _, v := range s.items {
			for _, device := range v.devices {
				id := snapshotOf(*staged, device)
				snapshots[id] = a.facts.Earlier[s.location].VolumePermissions[id]
			}
		}
	}

	isMissing := !s.permanent.Without(with).IsEmpty()
	for _, permitted := range snapshots {
		isMissing = isMissing || len(distribution.Without(s.permanent.Accounts, permitted)) > 0
	}

	if isMissing {
		return ""
	}

	return image
}

// stagedImages returns the existing staged images of a share source.
func (a *Assessment) stagedImages(s *shareSource) existingImages {
	spec := s.imageSpec(a)
	snapshots := snapshotsByID(a.facts.Earlier[s.location])
	isWanted := func(image ec2types.Image) bool {
		return len(spec.Differences(image)) == 0 &&
			!slices.ContainsFunc(volumes(a.facts.Images[s.region]), func(v volume) bool {
				return slices.ContainsFunc(v.devices, func(device string) bool {
					return snapshotDifference(snapshots[snapshotOf(image, device)], v, s.location.Account, s.keyARN) != ""
				})
			})
	}
	return findImages(a.facts, spec, "", isWanted)
}
