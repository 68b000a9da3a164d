// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command awssim serves the simulated AWS on the loopback interface, with all services at one address. Its first line
// of output is the address. It stops on SIGTERM and SIGINT.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// options are the command line options.
type options struct {
	listen string
	speed  float64
	world  string
	record string
	seed   uint64
	faults []awssim.FaultRule
	user   string // "account/name"
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "awssim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, out, complaints io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("awssim", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.StringVar(
		&o.listen, "listen", "127.0.0.1:0", "`address` to listen on, of the loopback interface; port 0 takes a free one",
	)

	flags.Float64Var(&o.speed, "speed", 1, "how many `times` faster than the real clock that of the simulated AWS runs")
	flags.StringVar(
		&o.world, "world", "",
		"`name` of what is there at the start ("+strings.Join(awssim.WorldNames(), ", ")+"); nothing by default",
	)

	flags.StringVar(&o.record, "record", "", "`file` to which each call is appended as a line of JSON")
	flags.Uint64Var(&o.seed, "seed", 0, "`number` from which ids and durations are drawn")
	flags.StringVar(
		&o.user, "user", "",
		"`account/name` of a user of the world; a new access key for it is printed, as a line for a shell",
	)

	flags.Func(
		"inject", "`rule` of what goes wrong, as JSON, as {\"Fault\": \"throttled\", \"Action\": \"ec2:Copy*\"}; repeatable",
		o.inject,
	)

	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.speed <= 0 {
		return fmt.Errorf("-speed %g: must be more than 0", o.speed)
	}

	listener, err := listen(o.listen)
	if err != nil {
		return err
	}

	defer listener.Close() // closes it again after serving
	recording := io.Discard
	if o.record != "" {
		file, err := os.OpenFile(o.record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		recording = file
	}

	clock := awssim.StartClock(o.speed)
	world := awssim.New(awssim.WithClock(clock.Now), awssim.WithClientTime(clock.RealTime), awssim.WithoutLatency(),
		awssim.WithSlowClients(time.Duration(o.speed*float64(
			50*time.Millisecond,
		))), awssim.WithSeed(o.seed), awssim.WithRecording(recording))
	if o.world != "" {
		if err := world.BuildNamed(o.world); err != nil {
			return err
		}
	}

	for _, rule := range o.faults {
		world.Inject(rule)
	}

	fmt.Fprintf(out, "awssim listening on http://%s\n", listener.Addr())
	if o.user != "" {
		if err := printKey(ctx, out, world, listener.Addr(), o.user); err != nil {
			return err
		}
	}

	return serve(ctx, listener, world)
}

// printKey creates an access key for a user, "account/name", and prints the shell commands to use it.
func printKey(ctx context.Context, out io.Writer, world *awssim.World, address net.Addr, user string) error {
	account, name, _ := strings.Cut(user, "/")
	created, err := iam.NewFromConfig(world.Config(account, "us-east-1")).CreateAccessKey(
		ctx, &iam.CreateAccessKeyInput{UserName: &name},
	)
	if err != nil {
		return fmt.Errorf("-user %s: %w", user, err)
	}

	_, err = fmt.Fprintf(
		out, "export AWS_ENDPOINT_URL=http://%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n", address,
		*created.AccessKey.AccessKeyId, *created.AccessKey.SecretAccessKey,
	)

	return err
}

// inject parses and adds a fault rule.
func (o *options) inject(text string) error {
	var rule awssim.FaultRule
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&rule); err != nil {
		return err
	}
	if known := append(awssim.Faults(), awssim.Silent); !slices.Contains(known, rule.Fault) {
		return fmt.Errorf("there is no fault %q; there are %v", rule.Fault, known)
	}
	o.faults = append(o.faults, rule)
	return nil
}

// listen opens an address of the loopback interface. It refuses others, because every client of a simulated AWS can act
// as root.
func listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-listen %s: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("-listen %s: not an address of the loopback interface", address)
	}
	return net.Listen("tcp", address)
}

// serve handles requests until the context ends.
func serve(ctx context.Context, listener net.Listener, world http.Handler) error {
	server := &http.Server{Handler: world, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}

	// Running calls may end. Idle connections are closed.
	leave, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(leave); err != nil {
		return server.Close()
	}

	return nil
}
