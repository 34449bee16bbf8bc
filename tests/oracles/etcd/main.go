// etcd is the real etcd, and its own restore, in one program: `etcd etcd …` takes the arguments of etcd, and
// `etcd restore SNAPSHOT DATA-DIR NAME PEER-URL` makes a data directory of one member from a snapshot, as Talos does it.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.uber.org/zap"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "etcd" {
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
		return
	}
	if len(os.Args) != 6 || os.Args[1] != "restore" {
		fmt.Fprintln(os.Stderr, "usage: etcd etcd [ARGUMENT…] | etcd restore SNAPSHOT DATA-DIR NAME PEER-URL")
		os.Exit(2)
	}
	file, folder, name, url := os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                name,
		OutputDataDir:       folder,
		PeerURLs:            []string{url},
		InitialCluster:      name + "=" + url,
		InitialClusterToken: "etcd-cluster",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
