// Copyright The Squall Authors
// SPDX-License-Identifier: Apache-2.0

// Command wire writes down how the API's types lie in protocol buffers, for the lab's API server, which must read what kubectl sends:
//
//	go run ./wire >../../src/lab/api/schema/fields.txt
//
// A line is a message: its name, and its fields as `name:number:type`. A field without a name is inlined. Types are s(tring), b(ytes),
// i(nteger), t(ruth), d(ouble) or a message; before them `?` stands for left out when it is zero, `[]` for a list, `{}` for a map of strings.
//
// How server-side apply merges them stands behind an equals sign: `!` as a whole (behind a message's name: wherever it stands), `#` as a
// set, else by the fields that tell a list's elements apart. Lists without it are merged as a whole, maps and messages by their fields.
package main

import (
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	scaling1 "k8s.io/api/autoscaling/v1"
	scaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"
)

// What the lab's API server is sent whole; its own list is src/lab/store/kinds.rs.
var roots = []any{
	core.Pod{}, core.Node{}, core.Namespace{}, core.Service{}, core.ServiceAccount{}, core.ConfigMap{}, core.Secret{}, core.Event{},
	core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.Binding{},
	apps.Deployment{}, apps.ReplicaSet{}, apps.StatefulSet{}, apps.DaemonSet{}, apps.ControllerRevision{},
	batch.Job{}, batch.CronJob{}, policy.PodDisruptionBudget{}, policy.Eviction{}, discovery.EndpointSlice{}, coordination.Lease{},
	scaling.HorizontalPodAutoscaler{}, scaling1.Scale{}, scheduling.PriorityClass{}, storage.StorageClass{},
	networking.NetworkPolicy{}, networking.Ingress{}, rbac.Role{}, rbac.RoleBinding{}, rbac.ClusterRole{}, rbac.ClusterRoleBinding{},
	authorization.SelfSubjectAccessReview{}, authorization.SelfSubjectRulesReview{}, authentication.SelfSubjectReview{},
	meta.DeleteOptions{},
}

// Messages that JSON writes as something else: whoever reads the table knows them.
var special = map[string]bool{
	"meta.Time": true, "meta.MicroTime": true, "meta.Duration": true, "meta.FieldsV1": true,
	"resource.Quantity": true, "intstr.IntOrString": true, "runtime.RawExtension": true,
}

var definitions = openapi.GetOpenAPIDefinitions(func(path string) spec.Ref { return spec.MustCreateRef(path) })

// definition is what OpenAPI says of a type.
func definition(of reflect.Type) common.OpenAPIDefinition {
	return definitions[of.PkgPath()+"."+of.Name()]
}

// merged is how server-side apply merges what has these extensions.
func merged(of spec.Extensions) string {
	list, _ := of.GetString("x-kubernetes-list-type")
	kind, _ := of.GetString("x-kubernetes-map-type")
	switch {
	case list == "map":
		keys, _ := of.GetStringSlice("x-kubernetes-list-map-keys")
		return "=" + strings.Join(keys, ",")
	case list == "set":
		return "=#"
	case kind == "atomic":
		return "=!"
	default:
		return ""
	}
}

func main() {
	lines := map[string]string{}
	for _, root := range roots {
		describe(reflect.TypeOf(root), lines)
	}
	names := make([]string, 0, len(lines))
	for name := range lines {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintln(os.Stdout, strings.TrimSpace(lines[name]))
	}
}

// name is a type's, with the last folder of its package that is no version: the same name stands for different types in two groups.
func name(of reflect.Type) string {
	folders := strings.Split(of.PkgPath(), "/")
	folder := folders[len(folders)-1]
	if len(folder) > 1 && folder[0] == 'v' && folder[1] >= '0' && folder[1] <= '9' {
		group := folders[len(folders)-2]
		if group == "autoscaling" {
			group += folder
		}
		folder = group
	}
	return folder + "." + of.Name()
}

func describe(of reflect.Type, lines map[string]string) {
	key := name(of)
	if _, done := lines[key]; done || special[key] {
		return
	}
	lines[key] = ""
	if of.Kind() == reflect.Slice {
		// A list that has a name is a message of its own.
		lines[key] = key + " items:1:" + kind(reflect.SliceOf(of.Elem()), lines)
		return
	}
	described := definition(of).Schema
	fields := []string{key + merged(described.Extensions)}
	for i := range of.NumField() {
		field := of.Field(i)
		wire := strings.Split(field.Tag.Get("protobuf"), ",")
		if len(wire) < 2 {
			continue
		}
		json := strings.Split(field.Tag.Get("json"), ",")
		flag := ""
		if len(json) > 1 && json[1] == "omitempty" && field.Type.Kind() != reflect.Pointer && field.Type.Kind() != reflect.Struct {
			flag = "?"
		}
		how := merged(described.Properties[json[0]].Extensions)
		fields = append(fields, fmt.Sprintf("%s:%s:%s%s%s", json[0], wire[1], flag, kind(field.Type, lines), how))
	}
	lines[key] = strings.Join(fields, " ")
}

func kind(of reflect.Type, lines map[string]string) string {
	switch of.Kind() {
	case reflect.Pointer:
		return kind(of.Elem(), lines)
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "t"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8:
		return "i"
	case reflect.Float64:
		return "d"
	case reflect.Map:
		return "{}" + kind(of.Elem(), lines)
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Uint8 {
			return "b"
		}
		if of.Name() != "" {
			describe(of, lines)
			return name(of)
		}
		return "[]" + kind(of.Elem(), lines)
	case reflect.Struct:
		describe(of, lines)
		return name(of)
	default:
		panic("a field of type " + of.String())
	}
}
