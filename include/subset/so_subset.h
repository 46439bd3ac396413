/* SPDX-License-Identifier: MIT */
/*
 * SO_SUBSET: several sockets bound to one address each ask for a share of its traffic.
 *
 *   struct so_subset share = { .total = 8, .instance = 3 };
 *   setsockopt(fd, SOL_SOCKET, SO_SUBSET, &share, sizeof share);
 *
 * Before bind(2) the call declares; the socket joins its group at bind (UDP) or listen (TCP). On a
 * bound socket it joins, or moves to another instance, at once. total = 0 leaves the subset.
 * getsockopt(2) gives back the declaration, with the instance that was assigned.
 *
 * The option is understood by libsubset.so (LD_PRELOAD); without it the kernel answers ENOPROTOOPT,
 * so that a program can probe for it. See so_subset(3) for the errors.
 *
 * After Robert Watson, "Update on the SMP Network Stack", FreeBSD Developer Summit, 2008.
 */
#ifndef SUBSET_SO_SUBSET_H
#define SUBSET_SO_SUBSET_H

#include <stdint.h>

#define SO_SUBSET 0x5355            /* level SOL_SOCKET */
#define SO_SUBSET_ANY 0xffffffffu   /* instance: the daemon picks a vacant one */
#define SO_SUBSET_TOTAL_MAX 4096u   /* largest total */

/* "instance of total": 3 of 8 is { .total = 8, .instance = 3 }; instances count from 0. */
struct so_subset {
	uint32_t total;
	uint32_t instance;
};

#endif /* SUBSET_SO_SUBSET_H */
