/* The fixed loop that the pool is measured against: one thread, one session, C_SignInit and C_Sign.
 *
 * raw_sign MODULE TOKEN-LABEL PIN-FILE KEY-LABEL ecdsa|rsa SECONDS
 * It logs in, writes "ready", waits for a line, signs for so long, and writes how many signatures.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG (*function)();

enum { INITIALIZE = 0, FINALIZE = 1, SLOT_LIST = 4, TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18 };
enum { FIND_INIT = 26, FIND = 27, FIND_FINAL = 28, SIGN_INIT = 42, SIGN = 43, FUNCTIONS = 68 };
enum { CKF_OS_LOCKING_OK = 2, CKF_SERIAL_SESSION = 4, CKU_USER = 1 };
enum { CKA_CLASS = 0, CKA_LABEL = 3, CKO_PRIVATE_KEY = 3, CKM_RSA_PKCS = 1, CKM_ECDSA = 0x1041 };
enum { MAX_SLOTS = 64, DIGEST_BYTES = 32, ATTEMPTS = 20, PAUSE_MICROSECONDS = 100000 };

struct attribute {
  CK_ULONG type;
  void *value;
  CK_ULONG size;
};

static struct {
  unsigned char version[2];
  function functions[FUNCTIONS];
} *module;

static void require(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "raw_sign: %s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void load(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  require(library != NULL, "the module does not load");
  function list = (function)dlsym(library, "C_GetFunctionList");
  require(list != NULL && list(&module) == 0, "there is no function list");
}

static void initialize(void) {
  struct { void *mutexes[4]; CK_ULONG flags; void *reserved; } arguments = {{0}, 0, NULL};
  arguments.flags = CKF_OS_LOCKING_OK;
  require(module->functions[INITIALIZE](&arguments) == 0, "C_Initialize");
}

static int find_slot(const char *label, CK_ULONG *slot) {
  CK_ULONG slots[MAX_SLOTS], count = MAX_SLOTS;
  /* CK_TOKEN_INFO begins with the label; the rest of it is not looked at. */
  char info[512];
  require(module->functions[SLOT_LIST]((unsigned char)1, slots, &count) == 0, "C_GetSlotList");
  for (CK_ULONG i = 0; i < count; i++) {
    *slot = slots[i];
    if (module->functions[TOKEN_INFO](slots[i], info) != 0) continue;
    if (strncmp(info, label, strlen(label)) == 0 && info[strlen(label)] == ' ') return 1;
  }
  return 0;
}

static CK_ULONG open_token(const char *label) {
  CK_ULONG slot, session;
  int attempts = ATTEMPTS;
  initialize();
  /* SoftHSM reads its tokens once, and misreads them while another process looks as well. */
  while (!find_slot(label, &slot)) {
    require(attempts-- > 0, "there is no such token");
    module->functions[FINALIZE](NULL);
    usleep(PAUSE_MICROSECONDS);
    initialize();
  }
  require(module->functions[OPEN_SESSION](slot, (CK_ULONG)CKF_SERIAL_SESSION, NULL, NULL,
                                          &session) == 0, "C_OpenSession");
  return session;
}

static void log_in(CK_ULONG session, const char *path) {
  char pin[256] = "";
  FILE *file = fopen(path, "r");
  require(file != NULL && fgets(pin, sizeof pin, file) != NULL, "the PIN file cannot be read");
  pin[strcspn(pin, "\n")] = 0;
  require(module->functions[LOGIN](session, (CK_ULONG)CKU_USER, pin, (CK_ULONG)strlen(pin)) == 0,
          "C_Login");
}

static CK_ULONG find_key(CK_ULONG session, char *label) {
  CK_ULONG class = CKO_PRIVATE_KEY, key, count;
  struct attribute wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, strlen(label)}};
  require(module->functions[FIND_INIT](session, wanted, (CK_ULONG)2) == 0, "C_FindObjectsInit");
  require(module->functions[FIND](session, &key, (CK_ULONG)1, &count) == 0, "C_FindObjects");
  require(count == 1, "there is no such key");
  module->functions[FIND_FINAL](session);
  return key;
}

int main(int argc, char **argv) {
  require(argc == 7, "usage: MODULE TOKEN PIN-FILE KEY ecdsa|rsa SECONDS");
  load(argv[1]);
  CK_ULONG session = open_token(argv[2]);
  log_in(session, argv[3]);
  CK_ULONG key = find_key(session, argv[4]);
  /* DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1) and a digest of zeros. */
  unsigned char data[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
                          0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20, [19 + DIGEST_BYTES - 1] = 0};
  int is_rsa = strcmp(argv[5], "rsa") == 0;
  struct { CK_ULONG mechanism; void *parameter; CK_ULONG size; } mechanism = {
      is_rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0};
  unsigned char *input = is_rsa ? data : data + 19;
  CK_ULONG size = is_rsa ? sizeof data : DIGEST_BYTES;
  puts("ready");
  fflush(stdout);
  require(getchar() == '\n', "no word to begin");
  unsigned long made = 0;
  double end = now() + strtod(argv[6], NULL);
  do {
    unsigned char signature[512];
    CK_ULONG length = sizeof signature;
    require(module->functions[SIGN_INIT](session, &mechanism, key) == 0, "C_SignInit");
    require(module->functions[SIGN](session, input, size, signature, &length) == 0, "C_Sign");
    made++;
  } while (now() < end);
  printf("%lu\n", made);
  return 0;
}
