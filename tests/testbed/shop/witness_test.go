// Copyright The Squall Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"
)

func TestSummariseFindsEveryWindow(t *testing.T) {
	began := time.Unix(100, 0)
	outcomes := []string{good, "refused", "timeout", good, "reset", good, good, "refused"}
	slots := make([]slot, len(outcomes))
	for i, outcome := range outcomes {
		planned := time.Duration(i) * time.Second
		slots[i] = slot{planned: planned, started: planned + time.Duration(i)*time.Millisecond, outcome: outcome}
	}

	got := summarise(witnessOptions{interval: time.Second, timeout: time.Second}, slots, began)

	second := func(s int64) int64 { return (100 + s) * int64(time.Second) }
	want := []window{
		{FirstBad: second(1), LastBad: second(2), NextGood: second(3), Bad: 2},
		{FirstBad: second(4), LastBad: second(4), NextGood: second(5), Bad: 1},
		{FirstBad: second(7), LastBad: second(7), NextGood: 0, Bad: 1},
	}
	if fmt.Sprint(got.Windows) != fmt.Sprint(want) {
		t.Errorf("windows: %v, want %v", got.Windows, want)
	}
	if got.Good != 4 || got.Bad != 4 || got.FirstBad != second(1) || got.LastBad != second(7) || got.FirstGoodAfter != 0 {
		t.Errorf("summary: %+v", got)
	}
	if got.MaxLatenessNS != int64(7*time.Millisecond) {
		t.Errorf("lateness: %d", got.MaxLatenessNS)
	}
}

func TestKindNamesWhatTheNetworkSaid(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for want, err := range map[string]error{
		"refused":     refused,
		"reset":       &net.OpError{Op: "read", Err: syscall.ECONNRESET},
		"unreachable": &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH},
		"closed":      io.EOF,
		"nxdomain":    &net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}},
		"dns":         &net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}},
	} {
		if got := kind(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// A server that closes a kept-alive connection after its first answer must be seen as such: no hidden second try.
func TestKeptAliveConnectionIsNotRetriedInSilence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		}
	}()
	target := &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}
	c := newClient(target, witnessOptions{timeout: time.Second, keepAlive: true, expect: 200}, time.Now())

	first := c.ask(0)
	time.Sleep(50 * time.Millisecond) // until the end of the connection has arrived
	second := c.ask(50 * time.Millisecond)

	if first != good || (second != "closed" && second != "reset") {
		t.Errorf("%s, then %s; want good, then closed or reset", first, second)
	}
}
