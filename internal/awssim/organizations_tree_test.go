// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// management is the management account in these tests.
const management = "000000000001"

// tree is an organization whose root contains the owner, and whose unit contains the member.
type tree struct {
	fixture
	client     *organizations.Client
	root, unit string
}

func (f fixture) orgs(account string) *organizations.Client {
	return organizations.NewFromConfig(f.world.Config(account, home))
}

func inTree(t *testing.T, test func(tree)) {
	runWithFixture(t, func(f fixture) {
		client := f.orgs(management)
		requireNoError(client.CreateOrganization(f.Context(), &organizations.CreateOrganizationInput{
			FeatureSet: orgtypes.OrganizationFeatureSetAll,
		}))(f)

		root := *requireOutput(client.ListRoots(f.Context(), &organizations.ListRootsInput{}))(f).Roots[0].Id
		unit := requireOutput(client.CreateOrganizationalUnit(
			f.Context(), &organizations.CreateOrganizationalUnitInput{ParentId: &root, Name: aws.String("unit")},
		))(f)

		created := tree{f, client, root, *unit.OrganizationalUnit.Id}
		for _, account := range []string{owner, member} {
			created.join(account)
		}

		requireNoError(client.MoveAccount(f.Context(), &organizations.MoveAccountInput{
			AccountId: aws.String(member), SourceParentId: &root, DestinationParentId: &created.unit,
		}))(f)

		test(created)
	})
}

// join invites an account into the organization and accepts.
func (o tree) join(account string) {
	o.Helper()
	invited := requireOutput(o.client.InviteAccountToOrganization(o.Context(),
		&organizations.InviteAccountToOrganizationInput{
			Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount},
		}))(o)
	requireNoError(o.orgs(account).AcceptHandshake(o.Context(), &organizations.AcceptHandshakeInput{
		HandshakeId: invited.Handshake.Id,
	}))(o)
}

// attach creates a policy and attaches it.
func (o tree) attach(kind orgtypes.PolicyType, name, target string, statements ...string) {
	o.Helper()
	created := requireOutput(o.client.CreatePolicy(o.Context(), &organizations.CreatePolicyInput{
		Name:        &name,
		Description: aws.String(""),
		Type:        kind,
		Content:     newPolicy(statements...),
	}))(o)
	requireNoError(o.client.AttachPolicy(o.Context(), &organizations.AttachPolicyInput{
		PolicyId: created.Policy.PolicySummary.Id, TargetId: &target,
	}))(o)
}

func (o tree) enable(kind orgtypes.PolicyType) {
	o.Helper()
	requireNoError(o.client.EnablePolicyType(o.Context(), &organizations.EnablePolicyTypeInput{
		RootId: &o.root, PolicyType: kind,
	}))(o)
}

func TestOrganizations_describeTree(t *testing.T) {
	inTree(t, func(o tree) {
		in := func(parent string) (numbers []string) {
			for _, a := range requireOutput(o.client.ListAccountsForParent(
				o.Context(), &organizations.ListAccountsForParentInput{ParentId: &parent},
			))(o).Accounts {
				numbers = append(numbers, *a.Id)
			}
			return numbers
		}

		root, unit := in(o.root), in(o.unit)
		if strings.Join(root, " ") != management+" "+owner || strings.Join(unit, " ") != member {
			o.Errorf("in the root %v, in the unit %v", root, unit)
		}

		units := requireOutput(o.client.ListOrganizationalUnitsForParent(
			o.Context(), &organizations.ListOrganizationalUnitsForParentInput{ParentId: &o.root},
		))(o).OrganizationalUnits
		if len(units) != 1 || *units[0].Id != o.unit {
			o.Errorf("units %+v", units)
		}

		parent := requireOutput(o.client.ListParents(o.Context(), &organizations.ListParentsInput{
			ChildId: aws.String(member),
		}))(o).Parents[0]
		if *parent.Id != o.unit || parent.Type != orgtypes.ParentTypeOrganizationalUnit {
			o.Errorf("parent %+v", parent)
		}

		_, err := o.client.ListAccountsForParent(o.Context(), &organizations.ListAccountsForParentInput{
			ParentId: aws.String("ou-none-00000000"),
		})

		requireErrorCode(o, err, "ParentNotFoundException")
		_, err = o.orgs("222222222222").DescribeOrganization(o.Context(), &organizations.DescribeOrganizationInput{})
		requireErrorCode(o, err, "AWSOrganizationsNotInUseException")
		// Member accounts see the organization. Only the management account and delegated administrators see the tree.
		got := requireOutput(o.orgs(owner).DescribeOrganization(
			o.Context(), &organizations.DescribeOrganizationInput{},
		))(o).Organization
		if *got.MasterAccountId != management {
			o.Errorf("%+v", got)
		}

		_, err = o.orgs(owner).ListAccountsForParent(o.Context(), &organizations.ListAccountsForParentInput{
			ParentId: &o.unit,
		})

		requireErrorCode(o, err, "AccessDeniedException")
		requireNoError(o.client.RegisterDelegatedAdministrator(
			o.Context(),
			&organizations.RegisterDelegatedAdministratorInput{
				AccountId: aws.String(owner), ServicePrincipal: aws.String("account.amazonaws.com"),
			},
		))(o)

		requireNoError(o.orgs(owner).ListAccountsForParent(o.Context(), &organizations.ListAccountsForParentInput{
			ParentId: &o.unit,
		}))(o)

		_, err = o.orgs(owner).CloseAccount(o.Context(), &organizations.CloseAccountInput{AccountId: aws.String(member)})
		requireErrorCode(o, err, "AccessDeniedException")

		requireNoError(o.client.CloseAccount(o.Context(), &organizations.CloseAccountInput{AccountId: aws.String(member)}))(o)
		account := requireOutput(o.client.DescribeAccount(o.Context(), &organizations.DescribeAccountInput{
			AccountId: aws.String(member),
		}))(o).Account
		if account.Status != orgtypes.AccountStatusSuspended {
			o.Errorf("closed, the account is %s", account.Status)
		}

		_, err = sts.NewFromConfig(o.world.Config(member, home)).GetCallerIdentity(o.Context(), &sts.GetCallerIdentityInput{})
		requireErrorCode(o, err, "InvalidClientTokenId")
	})
}

func TestCreateAccount_administratorRole(t *testing.T) {
	inTree(t, func(o tree) {
		asked := requireOutput(o.client.CreateAccount(o.Context(), &organizations.CreateAccountInput{
			AccountName: aws.String("new"), Email: aws.String("new@example.com"),
		}))(o).CreateAccountStatus
		if asked.State != orgtypes.CreateAccountStateInProgress || asked.AccountId != nil {
			o.Errorf("%+v", asked)
		}

		time.Sleep(time.Minute)
		created := requireOutput(o.client.DescribeCreateAccountStatus(
			o.Context(), &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: asked.Id},
		))(o).CreateAccountStatus
		if created.State != orgtypes.CreateAccountStateSucceeded {
			o.Fatalf("%+v", created)
		}

		session := requireOutput(o.assumeRole(
			o.createUser(management, "admin", allowStatement(`"sts:AssumeRole"`)),
			"arn:aws:iam::"+*created.AccountId+":role/OrganizationAccountAccessRole",
		))(o)

		if got := *session.AssumedRoleUser.Arn; !strings.HasPrefix(got, "arn:aws:sts::"+*created.AccountId) {
			o.Errorf("assumed %s", got)
		}
	})
}

// TestOrganizations_serviceControlPolicies covers rule B.11.1. Policies restrict even root users of members, but not
// the management account. Every level must allow the action.
func TestOrganizations_serviceControlPolicies(t *testing.T) {
	inTree(t, func(o tree) {
		look := func(account, region string) error {
			_, err := ec2.NewFromConfig(o.world.Config(account, region)).DescribeImages(
				o.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}},
			)
			return err
		}

		for _, account := range []string{management, owner, member} {
			if err := look(account, away); err != nil {
				o.Errorf("FullAWSAccess: %s: %v", account, err)
			}
		}

		o.attach(orgtypes.PolicyTypeServiceControlPolicy, "home only", o.unit,
			`{"Effect":"Deny","Action":"ec2:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"`+home+
				`"}}}`)

		// rule A.4.11: an authorization error names the type of the policy that denied it
		requireErrorMessage(
			o, look(member, away), "UnauthorizedOperation", "with an explicit deny in a service control policy",
		)

		for account, region := range map[string]string{member: home, owner: away, management: away} {
			if err := look(account, region); err != nil {
				o.Errorf("%s in %s: %v", account, region, err)
			}
		}

		o.attach(orgtypes.PolicyTypeServiceControlPolicy, "no images", o.unit, allowStatement(`"ec2:DescribeRegions"`))
		requireNoError(o.client.DetachPolicy(o.Context(), &organizations.DetachPolicyInput{
			PolicyId: aws.String("p-FullAWSAccess"), TargetId: &o.unit,
		}))(o)

		// rule A.4.11: an authorization error names the type of the policy that denied it
		requireErrorMessage(
			o, look(member, home), "UnauthorizedOperation",
			"because no service control policy allows the ec2:DescribeImages action",
		)
	})
}

// TestOrganizations_resourceControlPolicies shows that policies restrict all access to resources of an account, except
// to AWS managed keys.
func TestOrganizations_resourceControlPolicies(t *testing.T) {
	inTree(t, func(o tree) {
		o.enable(orgtypes.PolicyTypeResourceControlPolicy)
		key := o.createSharedKey() // owned by the owner, open to the member
		theirs := kms.NewFromConfig(o.world.Config(member, home))
		requireNoError(theirs.DescribeKey(o.Context(), &kms.DescribeKeyInput{KeyId: &key}))(o)
		o.attach(orgtypes.PolicyTypeResourceControlPolicy, "own accounts", owner,
			`{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*",`+
				`"Condition":{"StringNotEquals":{"aws:PrincipalAccount":"`+owner+`"}}}`)
		_, err := theirs.DescribeKey(o.Context(), &kms.DescribeKeyInput{KeyId: &key})
		requireErrorMessage(o, err, "AccessDeniedException", "with an explicit deny in a resource control policy") // A.4.11
		requireNoError(o.kms.DescribeKey(o.Context(), &kms.DescribeKeyInput{KeyId: &key}))(o)
		requireNoError(o.kms.DescribeKey(o.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")}))(o)
	})
}

// TestKeyPolicy_organizationConditions shows that a key policy can allow an organization or a part of it (rule 2.2.6).
func TestKeyPolicy_organizationConditions(t *testing.T) {
	inTree(t, func(o tree) {
		id := *requireOutput(o.client.DescribeOrganization(
			o.Context(), &organizations.DescribeOrganizationInput{},
		))(o).Organization.Id

		o.join("222222222222")
		for name, row := range map[string]struct {
			condition string
			member    bool // in the unit
			other     bool // in the root
		}{
			"aws:PrincipalOrgID":            {`"StringEquals":{"aws:PrincipalOrgID":"` + id + `"}`, true, true},
			"aws:PrincipalOrgID of another": {`"StringEquals":{"aws:PrincipalOrgID":"o-0000000000"}`, false, false},
			"aws:PrincipalOrgPaths": {
				`"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"` + id + `/` + o.root + `/` + o.unit + `/*"}`, true, false,
			},
		} {
			key := o.createKey()
			o.setKeyPolicy(
				key,
				`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:DescribeKey","Resource":"*","Condition":{`+row.condition+
					`}}`,
			)

			for account, allowed := range map[string]bool{member: row.member, "222222222222": row.other, "333333333333": false} {
				_, err := kms.NewFromConfig(o.world.Config(account, home)).DescribeKey(o.Context(), &kms.DescribeKeyInput{
					KeyId: &key,
				})
				if (err == nil) != allowed {
					o.Errorf("%s: %s: %v", name, account, err)
				}
			}
		}
	})
}

func TestOrganizations_invalidRequests(t *testing.T) {
	inTree(t, func(o tree) {
		_, err := o.client.CreateOrganization(o.Context(), &organizations.CreateOrganizationInput{})
		requireErrorCode(o, err, "AlreadyInOrganizationException")
		_, err = o.client.CreatePolicy(o.Context(), &organizations.CreatePolicyInput{
			Name:        aws.String("n"),
			Description: aws.String(""),
			Type:        orgtypes.PolicyTypeResourceControlPolicy,
			Content:     newPolicy(allowStatement(`"*"`)),
		})

		requireErrorCode(o, err, "PolicyTypeNotEnabledException")
		_, err = o.client.CreatePolicy(o.Context(), &organizations.CreatePolicyInput{
			Name:        aws.String("n"),
			Description: aws.String(""),
			Type:        orgtypes.PolicyTypeServiceControlPolicy,
			Content:     aws.String("{}"),
		})

		requireErrorCode(o, err, "MalformedPolicyDocumentException")
		_, err = o.client.DetachPolicy(o.Context(), &organizations.DetachPolicyInput{
			PolicyId: aws.String("p-FullAWSAccess"), TargetId: &o.unit,
		})

		requireErrorCode(o, err, "ConstraintViolationException")
		_, err = o.client.CreateOrganizationalUnit(o.Context(), &organizations.CreateOrganizationalUnitInput{
			ParentId: &o.root, Name: aws.String("unit"),
		})

		requireErrorCode(o, err, "DuplicateOrganizationalUnitException")
		_, err = o.client.MoveAccount(o.Context(), &organizations.MoveAccountInput{
			AccountId: aws.String(member), SourceParentId: &o.root, DestinationParentId: &o.unit,
		})

		requireErrorCode(o, err, "SourceParentNotFoundException")
		_, err = o.client.DescribeAccount(o.Context(), &organizations.DescribeAccountInput{
			AccountId: aws.String("222222222222"),
		})

		requireErrorCode(o, err, "AccountNotFoundException")
	})
}
