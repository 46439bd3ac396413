// SPDX-License-Identifier: MIT
/*
 * Watson's first use of the option: one process, four threads, each with a UDP socket of its own on
 * the same port, each declaring its share of the traffic: 0/4, 1/4, 2/4 and 3/4.
 *
 *   LD_PRELOAD=.../libsubset.so four_threads 127.0.0.1 5300
 *
 * A thread answers each datagram with its instance: `echo hi | nc -u -w1 127.0.0.1 5300` says
 * "2/4: hi". Without the shim the kernel does not know the option; the program says so and shares
 * the port by SO_REUSEPORT. SIGINT and SIGTERM end it, with a count for each thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <subset/so_subset.h>

enum { THREADS = 4 };

struct worker {
  pthread_t thread;
  uint32_t instance;
  int fd;
  unsigned long answered;
};

static atomic_bool stopping;

static void die(const char* what) {
  perror(what);
  exit(1);
}

/* Declares the share; without the option, asks for plain sharing. */
static void declare(int fd, uint32_t instance) {
  const struct so_subset share = {.total = THREADS, .instance = instance};
  const int on = 1;

  if (setsockopt(fd, SOL_SOCKET, SO_SUBSET, &share, sizeof share) == 0) return;
  if (errno != ENOPROTOOPT) die("SO_SUBSET");
  if (instance == 0)
    printf("SO_SUBSET is not there (preload libsubset.so): sharing by SO_REUSEPORT\n");
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) die("SO_REUSEPORT");
}

/* What was assigned, which only matters where SO_SUBSET_ANY was asked for. */
static void show(const struct worker* worker) {
  struct so_subset share;
  socklen_t length = sizeof share;

  if (getsockopt(worker->fd, SOL_SOCKET, SO_SUBSET, &share, &length) == 0)
    printf("thread %u: instance %u of %u\n", worker->instance, share.instance, share.total);
}

static void open_socket(struct worker* worker, const struct sockaddr_in* address) {
  const struct timeval patience = {.tv_usec = 200000}; /* to notice the end */

  worker->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (worker->fd < 0) die("socket");
  declare(worker->fd, worker->instance);
  if (setsockopt(worker->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
    die("SO_RCVTIMEO");
  if (bind(worker->fd, (const struct sockaddr*)address, sizeof *address) != 0) die("bind");
  show(worker);
}

static void answer(struct worker* worker) {
  char text[2048];
  struct sockaddr_in peer;
  socklen_t length = sizeof peer;
  const int prefix = snprintf(text, sizeof text, "%u/%u: ", worker->instance, THREADS);
  const ssize_t size = recvfrom(worker->fd, text + prefix, sizeof text - (size_t)prefix, 0,
                                (struct sockaddr*)&peer, &length);

  if (size < 0) return; /* nobody asked, or an ICMP error of an earlier answer */
  sendto(worker->fd, text, (size_t)(prefix + size), 0, (struct sockaddr*)&peer, length);
  worker->answered++;
}

static void* serve(void* argument) {
  while (!stopping) answer(argument);
  return NULL;
}

static void wait_for_end(const sigset_t* signals) {
  int signal_number;

  sigwait(signals, &signal_number);
  stopping = true;
}

int main(int argc, char** argv) {
  struct worker workers[THREADS] = {0};
  struct sockaddr_in address = {.sin_family = AF_INET};
  sigset_t signals;

  if (argc != 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1 || atoi(argv[2]) <= 0) {
    fprintf(stderr, "usage: four_threads IPV4-ADDRESS PORT\n");
    return 2;
  }
  address.sin_port = htons((uint16_t)atoi(argv[2]));
  setlinebuf(stdout);
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);

  for (uint32_t i = 0; i < THREADS; i++) {
    workers[i].instance = i;
    open_socket(&workers[i], &address);
  }
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&workers[i].thread, NULL, serve, &workers[i]) != 0) die("pthread_create");
  printf("serving %s port %s\n", argv[1], argv[2]);
  wait_for_end(&signals);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    close(workers[i].fd);
    printf("thread %d answered %lu\n", i, workers[i].answered);
  }
  return 0;
}
