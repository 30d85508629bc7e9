// Copyright The Squall Authors
// SPDX-License-Identifier: Apache-2.0

// Command mkimage writes a one-layer container image from static binaries, as an archive that `ctr images import` and
// `docker load` read:
//
//	mkimage NAME OUT ENTRYPOINT... -- /path/in/image=hostfile...
//
// The same files give the same bytes: nothing in the archive depends on when or by whom it was made.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	separator := slices.Index(args, "--")
	if separator < 3 || separator == len(args)-1 {
		return errors.New("usage: mkimage NAME OUT ENTRYPOINT... -- /path/in/image=hostfile...")
	}
	name, out, entrypoint, files := args[0], args[1], args[2:separator], args[separator+1:]
	layer, err := makeLayer(files)
	if err != nil {
		return err
	}
	image, err := makeImage(name, entrypoint, layer)
	if err != nil {
		return err
	}
	// Renamed into place, so that nobody ever reads half an image.
	if err := os.WriteFile(out+".partial", image, 0o644); err != nil {
		return err
	}
	return os.Rename(out+".partial", out)
}

// makeLayer packs the files, the directories above them, and a /tmp.
func makeLayer(files []string) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	made := map[string]bool{".": true}
	if err := addDirectory(archive, made, "tmp", 0o1777); err != nil {
		return nil, err
	}
	for _, file := range files {
		inside, host, ok := strings.Cut(file, "=")
		if !ok || !path.IsAbs(inside) {
			return nil, fmt.Errorf("%q is not of the form /path/in/image=hostfile", file)
		}
		if err := addFile(archive, made, strings.TrimPrefix(path.Clean(inside), "/"), host); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return buffer.Bytes(), err
}

func addDirectory(archive *tar.Writer, made map[string]bool, name string, mode int64) error {
	if made[name] {
		return nil
	}
	if err := addDirectory(archive, made, path.Dir(name), 0o755); err != nil {
		return err
	}
	made[name] = true
	return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func addFile(archive *tar.Writer, made map[string]bool, name, host string) error {
	content, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if err := addDirectory(archive, made, path.Dir(name), 0o755); err != nil {
		return err
	}
	// Readable for all, whatever the umask was here: a pod may run as any user.
	mode := int64(info.Mode().Perm()) | 0o444
	if mode&0o100 != 0 {
		mode |= 0o111
	}
	return writeFile(archive, name, mode, content)
}

func writeFile(archive *tar.Writer, name string, mode int64, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// makeImage wraps the layer in a docker-archive: layer, configuration, manifest.
func makeImage(name string, entrypoint []string, layer []byte) ([]byte, error) {
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": entrypoint, "Env": []string{"PATH=/"}, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
		"history":      []any{map[string]string{"created_by": "squall testbed"}},
	})
	if err != nil {
		return nil, err
	}
	configName, layerName := digest(config)+".json", digest(layer)+"/layer.tar"
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{name}, "Layers": []string{layerName},
	}})
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	err = errors.Join(
		writeFile(archive, configName, 0o644, config),
		writeFile(archive, layerName, 0o644, layer),
		writeFile(archive, "manifest.json", 0o644, manifest),
		archive.Close(),
	)
	return buffer.Bytes(), err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
