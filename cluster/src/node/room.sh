# Makes what the programs of a node see of the file system, then becomes one of them. Nothing that
# containerd and the kubelet write reaches the machine: it is below the node's own folder, or in memory.
# Words: that folder; the node's name; the cgroup above its pods; the program and its arguments.
set -eu
files=$1 name=$2 cgroup=$3; shift 3
echo "$name" > /proc/sys/kernel/hostname

# A sysfs with the devices of this network namespace; cgroups and a bpffs of its own on top.
mkdir -p "$files/held"
mount --rbind /sys/fs/cgroup "$files/held"
mount -t sysfs sysfs /sys
mount --rbind "$files/held" /sys/fs/cgroup
umount --lazy "$files/held"
mount -t bpf bpf /sys/fs/bpf

# Not the machine's sockets and namespaces.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/node-cgroup
mount --bind "$cgroup" /run/node-cgroup

# The machine's /var/lib is seen, and stays as it is. Layers of containers cannot be on an overlay.
mkdir -p "$files/lib/upper" "$files/lib/work" "$files/log" "$files/containerd" "$files/kubelet"
mount -t overlay -o "lowerdir=/var/lib,upperdir=$files/lib/upper,workdir=$files/lib/work" overlay /var/lib
for dir in containerd kubelet; do
  mkdir -p "/var/lib/$dir"; mount --bind "$files/$dir" "/var/lib/$dir"
done
mount --bind "$files/log" /var/log

# A kubelet sets these for the whole machine; it sets copies.
mkdir -p "$files/sysctl"
for key in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=$files/sysctl/${key##*/}
  cat "/proc/sys/$key" > "$copy"; mount --bind "$copy" "/proc/sys/$key"
done

# Volumes of pods are to be seen in pods that are there already.
mount --make-rshared /
exec "$@"
