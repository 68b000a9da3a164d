// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package reporttest

import (
	"fmt"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Start is the time at which Run starts.
var Start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// volumes are those of the source image of Run.
var volumes = []struct {
	device, snapshot string
	gib              int64
}{
	{"/dev/xvda", "snap-0a", 8},
	{"/dev/xvdb", "snap-0b", 100},
}

// newAttributes returns the outcomes of the attributes of every image of Run. Poisoned changes them.
func newAttributes() []distribution.AttributeOutcome {
	return []distribution.AttributeOutcome{
		{Attribute: "Architecture", How: distribution.Kept},
		{Attribute: "BootMode", How: distribution.Kept},
		{Attribute: "EnaSupport", How: distribution.Kept},
		{Attribute: "ImdsSupport", How: distribution.Kept},
		{Attribute: "RootDeviceName", How: distribution.Kept},
		{Attribute: "UefiData", How: distribution.Kept},
		{Attribute: "Name", How: distribution.Set},
		{Attribute: "Tags", How: distribution.Set},
		{Attribute: "DeprecationTime", How: distribution.Lost, Why: "the date after which the image is deprecated"},
		{Attribute: "OwnerId", How: distribution.OutputOnly},
	}
}

// Manifest returns the manifest of Run without details.
func Manifest(accounts int) report.Manifest {
	p, r := Run(accounts)
	return NewManifest(p, r)
}

// NewManifest returns the manifest of a plan and its result at the end of the run.
func NewManifest(p plan.Plan, r distribution.Result) report.Manifest {
	return report.NewManifest(report.Input{
		PluginVersion: "0.1.0",
		Mode:          report.Distribute,
		BuilderType:   "amazon-ebs",
		Build: distribution.Build{
			Name:    "golden",
			Region:  Source.Region,
			BaseAMI: "ami-0bbbbbbbbbbbbbbbb",
			RunID:   "9b1f2a64-1c4a-49f3-b5c8-0c7f0f7f2a10",
		},
		RunID: "5d3c8a52-8f0e-4c0b-9a41-2f1e7f6f0a11",
		Resume: &report.Resume{
			File:    "resume.pkr.hcl",
			Command: "packer build -var external_id=EXTERNAL_ID encrypted-ami/ami-0aaaaaaaaaaaaaaaa/resume.pkr.hcl",
			CleanupCommand: "packer build -var mode=cleanup -var external_id=EXTERNAL_ID " +
				"encrypted-ami/ami-0aaaaaaaaaaaaaaaa/resume.pkr.hcl",
			Variables: []string{"external_id"},
		},
		Plan:      p,
		Result:    r,
		UpdatedAt: r.Ended,
	})
}

// Run returns the plan and the result of a run for a number of accounts, in two Regions each. The image has two
// volumes, staged in each Region. In the second Region of the last account the copy of a volume failed.
func Run(accounts int) (plan.Plan, distribution.Result) {
	p := Plan()
	p.Steps, p.Destinations = nil, nil
	p.Findings = []distribution.Finding{{Level: distribution.Note, Summary: "every account gets an image in 2 Regions"}}
	p.Images[0].Account, p.Images[0].Causes = Source.Account, p.Images[0].Causes[:1]
	r := distribution.Result{
		Begun:  Start,
		Source: []distribution.SourceImageResult{{Region: Source.Region, ImageID: "ami-0aaaaaaaaaaaaaaaa"}},
	}

	s := sample{plan: &p, result: &r}
	regions := []string{Source.Region, SourceWest.Region}
	for i, region := range regions {
		s.stage(i, region)
	}
	for account := range accounts {
		for i, region := range regions {
			s.copy(account, i, region)
			if account == accounts-1 && i == 1 {
				s.failLastStep(2 * accounts)
			}
		}
	}

	r.Findings = append(r.Findings, p.Findings...)
	p.Estimate = plan.Estimate{
		Copies:         len(p.Steps),
		GiBStored:      int64(len(p.Steps)) * 54,
		GiBStaged:      216,
		GiBTransferred: 108,
		Takes:          30 * time.Minute,
	}
	r.Ended = r.Ended.Add(time.Minute)
	return p, r
}

// sample is a plan and its result while Run adds to them.
type sample struct {
	plan   *plan.Plan
	result *distribution.Result
}

// done adds a successful step.
func (s sample) done(step step.Step, begun, took time.Duration, created string) {
	s.plan.Steps = append(s.plan.Steps, step)
	ended := distribution.StepResult{
		Step:  step.Meta().ID,
		At:    step.Meta().Location,
		Begun: Start.Add(begun),
		Ended: Start.Add(begun + took),
		Made:  created,
	}
	s.result.Steps = append(s.result.Steps, ended)
	if ended.Ended.After(s.result.Ended) {
		s.result.Ended = ended.Ended
	}
}

// stage adds the staged copies of a Region. i is the number of the Region.
func (s sample) stage(i int, region string) {
	at := distribution.Location{Account: Source.Account, Region: region}
	for _, v := range volumes {
		s.done(&step.CopySnapshot{
			Base:       step.Base{ID: stageID(region, v.device), Location: at},
			Source:     step.Ref{Known: v.snapshot},
			FromRegion: Source.Region,
			Device:     v.device,
			KeyARN:     KeyARN(at),
			GiB:        v.gib,
		}, time.Minute, stageTime(i, v.gib), "snap-0123456789abcdef0")
	}
}

func stageTime(i int, gib int64) time.Duration {
	return time.Duration(gib+40*int64(i+1)) * 5 * time.Second
}

func stageID(region, device string) distribution.StepID {
	return distribution.StepID("stage/" + region + "/" + device[5:])
}

// copy adds the copies of an account in a Region and their image. The account and the Region are given by their
// numbers.
func (s sample) copy(account, i int, region string) {
	target := "prod"
	if account%3 == 2 {
		target = "staging"
	}
	at := distribution.Location{Account: fmt.Sprintf("%012d", 222222222222+account), Region: region}
	made := distribution.CreatedImage{
		At:      at,
		Target:  target,
		ImageID: fmt.Sprintf("ami-0%016x", 4096*account+i),
		Name:    "golden 2026-03-02",
		Carried: newAttributes(),
	}
	for _, v := range volumes {
		s.done(&step.CopySnapshot{
			Base: step.Base{
				ID:          distribution.StepID("copy/" + at.Account + "/" + region + "/" + v.device[5:]),
				Location:    at,
				Destination: at,
			},
			Source:     step.Ref{From: stageID(region, v.device)},
			FromRegion: region,
			Device:     v.device,
			KeyARN:     KeyARN(at),
			GiB:        v.gib,
		},
			time.Minute+stageTime(i, v.gib)+time.Duration(account%7)*10*time.Second,
			time.Duration(v.gib)*4*time.Second+time.Duration(account%5)*20*time.Second,
			fmt.Sprintf("snap-0%016x", 4096*account+i))
		made.Snapshots = append(made.Snapshots, distribution.CreatedSnapshot{
			Device:     v.device,
			SnapshotID: "snap-0c",
			KeyARN:     KeyARN(at),
			GiB:        int32(v.gib),
		})
	}
	s.result.Images = append(s.result.Images, made)
	s.plan.Destinations = append(s.plan.Destinations, plan.DestinationPlan{
		At:         at,
		Target:     target,
		FromRegion: region,
		Name:       made.Name,
		KeyARN:     KeyARN(at),
		Carried:    newAttributes(),
	})
	s.result.Destinations = append(s.result.Destinations, distribution.DestinationResult{
		At:      at,
		Target:  target,
		State:   distribution.DestinationSucceeded,
		ImageID: made.ImageID,
	})
}

// failLastStep makes the last copy and its destination fail.
func (s sample) failLastStep(destinations int) {
	r := s.result
	end := &r.Destinations[len(r.Destinations)-1]
	role := "arn:aws:sts::" + end.At.Account + ":assumed-role/golden-image-target/run"
	f := distribution.Finding{
		Level:       distribution.Refused,
		Reference:   "3.1.4",
		Location:    end.At,
		Operation:   "ec2:CopySnapshot",
		Principal:   role,
		Code:        "kms_create_grant_denied",
		Summary:     "role golden-image-target may not kms:CreateGrant on alias/golden-target",
		Detail:      "EC2 creates a grant on the key of the copy. No identity policy of role golden-image-target allows it.",
		AWSMessage:  "Given key ID is not accessible",
		Remediation: "Add the statement to the identity policy of role golden-image-target.",
		PolicyStatements: []distribution.Addition{{
			Policy: "identity policy of role golden-image-target",
			Statement: distribution.Statement{
				Sid:      "CreateGrant",
				Effect:   "Allow",
				Action:   []string{"kms:CreateGrant"},
				Resource: []string{"*"},
			},
		}},
	}
	r.Steps[len(r.Steps)-1].Failure = &f
	r.Findings = append(r.Findings, f)
	end.State, end.ImageID = distribution.DestinationFailed, ""
	r.Images = r.Images[:len(r.Images)-1]
	r.Left = append(r.Left, distribution.RetainedResource{
		At:       end.At,
		Kind:     "snapshot",
		Resource: "snap-0123456789abcdef1",
		GiB:      8,
		Why:      "completed; a resumed run continues with it",
	})
	r.Failure = fmt.Sprintf("1 of %d destinations failed; ami-0aaaaaaaaaaaaaaaa is kept and protected from "+
		"deregistration", destinations)
}
