/* Sends prepared requests over plain HTTP to loopback, one at a time on each connection.
 *
 * plain_load PORT CONNECTIONS COUNT keep|close
 * Standard input: the number of requests (4 bytes), then of each its length and its bytes; numbers
 * are big-endian. A connection stays open until the server closes it, or is closed after each answer.
 * Standard output: "SECONDS PROCESSOR-SECONDS OPENED KEPT\n", then KEPT whole answers, each with its
 * length: every one that is no 200, up to a bound, and the first few.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 256, ANSWER_BYTES = 1 << 16, KEPT = 16, PAUSE_MILLISECONDS = 10000 };

struct bytes {
  char *start;
  uint32_t size;
};

struct line {
  int socket;
  uint32_t received, expected; /* expected: 0 before the head is whole */
  char answer[ANSWER_BYTES];
};

static struct bytes *requests, kept[KEPT];
static struct line lines[MAX_CONNECTIONS];
static struct sockaddr_in server;
static uint32_t prepared;
static unsigned long count, sent, answered, opened, kept_count;
static int waiting, closes;

static void require(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "plain_load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void read_whole(void *place, size_t size) {
  require(fread(place, 1, size, stdin) == size, "standard input ends early");
}

static uint32_t read_number(void) {
  uint32_t number;
  read_whole(&number, sizeof number);
  return ntohl(number);
}

static void read_requests(void) {
  prepared = read_number();
  requests = calloc(prepared, sizeof *requests);
  for (uint32_t i = 0; i < prepared; i++) {
    requests[i].size = read_number();
    requests[i].start = malloc(requests[i].size);
    read_whole(requests[i].start, requests[i].size);
  }
}

static void send_next(struct line *line) {
  if (sent == count) return;
  struct bytes *request = &requests[sent++ % prepared];
  require(send(line->socket, request->start, request->size, MSG_NOSIGNAL) == (ssize_t)request->size,
          "a request was not sent");
}

static void open_line(struct line *line) {
  int on = 1;
  line->socket = socket(AF_INET, SOCK_STREAM, 0);
  require(line->socket >= 0, "socket");
  require(connect(line->socket, (struct sockaddr *)&server, sizeof server) == 0, "connect");
  setsockopt(line->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
  require(epoll_ctl(waiting, EPOLL_CTL_ADD, line->socket, &event) == 0, "epoll_ctl");
  opened++;
  line->received = line->expected = 0;
  send_next(line);
}

static void close_line(struct line *line) {
  close(line->socket);
  if (sent < count) open_line(line);
}

/* How long the answer is; without Content-Length it ends with the connection. */
static void find_end(struct line *line) {
  static const char name[] = "\r\ncontent-length:";
  line->answer[line->received] = 0;
  char *end = strstr(line->answer, "\r\n\r\n");
  if (end == NULL) return;
  char *length = strcasestr(line->answer, name);
  if (length == NULL || length > end) line->expected = UINT32_MAX;
  else line->expected = (uint32_t)(end + 4 - line->answer + atol(length + sizeof name - 1));
}

static void note_answer(struct line *line) {
  require(line->received > 12, "the server closed a connection without an answer");
  int is_refused = memcmp(line->answer + 8, " 200", 4) != 0;
  if (kept_count < KEPT && (is_refused || answered < KEPT / 2)) {
    struct bytes *answer = &kept[kept_count++];
    answer->size = line->received;
    answer->start = malloc(line->received);
    memcpy(answer->start, line->answer, line->received);
  }
  answered++;
}

static void receive(struct line *line) {
  ssize_t size = recv(line->socket, line->answer + line->received,
                      sizeof line->answer - 1 - line->received, 0);
  require(size >= 0, "recv");
  line->received += (uint32_t)size;
  require(line->received < sizeof line->answer - 1, "an answer is too long");
  if (line->expected == 0) find_end(line);
  int is_whole = size == 0 || (line->expected != 0 && line->received >= line->expected);
  if (!is_whole) return;
  note_answer(line);
  if (size == 0 || closes || memcmp(line->answer, "HTTP/1.0", 8) == 0) {
    close_line(line);
    return;
  }
  line->received = line->expected = 0;
  send_next(line);
}

static void write_kept(void) {
  for (unsigned long i = 0; i < kept_count; i++) {
    uint32_t size = htonl(kept[i].size);
    fwrite(&size, sizeof size, 1, stdout);
    fwrite(kept[i].start, 1, kept[i].size, stdout);
  }
}

int main(int argc, char **argv) {
  require(argc == 5, "usage: PORT CONNECTIONS COUNT keep|close");
  int connections = atoi(argv[2]);
  require(connections > 0 && connections <= MAX_CONNECTIONS, "the number of connections");
  server.sin_family = AF_INET;
  server.sin_port = htons((uint16_t)atoi(argv[1]));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  count = strtoul(argv[3], NULL, 10);
  closes = strcmp(argv[4], "close") == 0;
  read_requests();
  waiting = epoll_create1(0);
  double began = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < connections; i++) open_line(&lines[i]);
  while (answered < count) {
    struct epoll_event events[MAX_CONNECTIONS];
    int ready = epoll_wait(waiting, events, MAX_CONNECTIONS, PAUSE_MILLISECONDS);
    require(ready > 0, "no answer comes any more");
    for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
  }
  printf("%f %f %lu %lu\n", seconds(CLOCK_MONOTONIC) - began,
         seconds(CLOCK_PROCESS_CPUTIME_ID) - used, opened, kept_count);
  write_kept();
  return 0;
}
