/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The arithmetic of the selection, compiled for BPF and for the host, where it is unit-tested.
 */
#ifndef SUBSET_BPF_SELECT_H
#define SUBSET_BPF_SELECT_H

#include "bpf/layout.h"

/* Maps a hash to 0 … n-1 evenly, by multiplication instead of division (the kernel's
 * reciprocal_scale). Uses the hash's high bits. n = 0 gives 0. */
static inline __u32 subset_scale(__u32 hash, __u32 n)
{
	return (__u32)(((__u64)hash * n) >> 32);
}

/* Mixes the bits of a word (the finalizer of MurmurHash3): every input bit changes every output bit
 * with probability one half. */
static inline __u32 subset_mix(__u32 word)
{
	word ^= word >> 16;
	word *= 0x85ebca6bu;
	word ^= word >> 13;
	word *= 0xc2b2ae35u;
	word ^= word >> 16;
	return word;
}

/* Hash of a client's address alone, one word (IPv4) or four. The seed keeps clients from choosing
 * their member. */
static inline __u32 subset_hash_words(const __u32 *words, __u32 count, __u32 seed)
{
	__u32 hash = seed;

	for (__u32 i = 0; i < count; i++)
		hash = subset_mix(hash ^ words[i]) + 0x9e3779b9u;
	return subset_mix(hash);
}

/* Index in the rows map: two copies of `domains` rows. */
static inline __u32 subset_row_index(__u32 copy, __u32 domains, __u32 domain)
{
	return copy * domains + domain;
}

/* Keeps the compiler from turning masks back into branches. */
#define subset_opaque(variable) __asm__ volatile("" : "+r"(variable))

/* What one open connection counts for on a member of this weight (1 to 1000). A multiple of
 * SUBSET_SCAN, so that a place fits below. */
static inline __u32 subset_cost(__u32 weight)
{
	return ((1u << 26) - 1) / weight * SUBSET_SCAN;
}

/* More than any member's burden; as the other burdens it is compared as a signed number, since a
 * counter may be below zero for a moment. */
#define SUBSET_NO_BURDEN (1ull << 62)

/* Open connections for the member's weight, and its place among those that have as many: one number,
 * so that a comparison is a subtraction. Fewer than 2^30 connections. */
static inline __u64 subset_burden(__u64 open, __u32 cost, __u32 place)
{
	return open * cost + place;
}

/* The smaller of two burdens. Without a branch: in the verifier's eyes each turn of a loop has one path
 * then, and a program loads in a tenth of the time. */
static inline __u64 subset_min(__u64 a, __u64 b)
{
	__u64 less = (__u64)((__s64)(a - b) >> 63); /* all ones if a < b */

	subset_opaque(less);
	return b + ((a - b) & less);
}

/* The place of the i-th of up to SUBSET_SCAN members: `start` is first, those before it are last. */
static inline __u32 subset_place(__u32 i, __u32 start)
{
	return (i - start) % SUBSET_SCAN;
}

/* Whose place a burden names. */
static inline __u32 subset_at_place(__u64 burden, __u32 start)
{
	return ((__u32)burden + start) % SUBSET_SCAN;
}

#endif /* SUBSET_BPF_SELECT_H */
