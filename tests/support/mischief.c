/* A PKCS#11 module that is another one with a bad character, for tests.
 *
 * It wraps the module at SHIM_OF, or the one that it was compiled for, and takes its orders from
 * the folder that MISCHIEF names (tests/support/mischief.py writes them). A file there, named
 * after a function, holds "WHAT ARGUMENT SKIP TIMES": so many calls of all processes pass, so many
 * more (-1: all) meet with
 *   answer CODE   the code instead of the call
 *   after CODE    the call is made, and its answer is lost: the code instead
 *   delay MS      the call is made so much later
 *   hang 0        the call is made once the file is gone
 *   kill 0        the process ends
 *   short 0       C_Sign alone: a byte is missing at the signature's end
 *   spoil 0       C_Sign alone: a bit of the signature is wrong
 * The file `calls` there gets a line with the name of each function that was called; of C_Sign only
 * calls with a buffer count and meet mischief, as those without only ask for a length.
 *
 * MISCHIEF_SIGN_MS makes each C_Sign take that many milliseconds, one after the other in all
 * processes that name the same file in MISCHIEF_SIGN_QUEUE: a device of so many signatures/s.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long CK_RV;
typedef unsigned long CK_ULONG;

enum { CKR_OK = 0, CKR_GENERAL_ERROR = 5, CKR_CANT_LOCK = 10 };
enum { HANG_POLL_MS = 5, SIGNATURE_ARGUMENT = 3, LENGTH_ARGUMENT = 4 };

/* CK_FUNCTION_LIST of PKCS#11 2.40, in its order. */
#define EVERY_FUNCTION(F) \
  F(C_Initialize) F(C_Finalize) F(C_GetInfo) F(C_GetFunctionList) F(C_GetSlotList) \
  F(C_GetSlotInfo) F(C_GetTokenInfo) F(C_GetMechanismList) F(C_GetMechanismInfo) F(C_InitToken) \
  F(C_InitPIN) F(C_SetPIN) F(C_OpenSession) F(C_CloseSession) F(C_CloseAllSessions) \
  F(C_GetSessionInfo) F(C_GetOperationState) F(C_SetOperationState) F(C_Login) F(C_Logout) \
  F(C_CreateObject) F(C_CopyObject) F(C_DestroyObject) F(C_GetObjectSize) \
  F(C_GetAttributeValue) F(C_SetAttributeValue) F(C_FindObjectsInit) F(C_FindObjects) \
  F(C_FindObjectsFinal) F(C_EncryptInit) F(C_Encrypt) F(C_EncryptUpdate) F(C_EncryptFinal) \
  F(C_DecryptInit) F(C_Decrypt) F(C_DecryptUpdate) F(C_DecryptFinal) F(C_DigestInit) F(C_Digest) \
  F(C_DigestUpdate) F(C_DigestKey) F(C_DigestFinal) F(C_SignInit) F(C_Sign) F(C_SignUpdate) \
  F(C_SignFinal) F(C_SignRecoverInit) F(C_SignRecover) F(C_VerifyInit) F(C_Verify) \
  F(C_VerifyUpdate) F(C_VerifyFinal) F(C_VerifyRecoverInit) F(C_VerifyRecover) \
  F(C_DigestEncryptUpdate) F(C_DecryptDigestUpdate) F(C_SignEncryptUpdate) \
  F(C_DecryptVerifyUpdate) F(C_GenerateKey) F(C_GenerateKeyPair) F(C_WrapKey) F(C_UnwrapKey) \
  F(C_DeriveKey) F(C_SeedRandom) F(C_GenerateRandom) F(C_GetFunctionStatus) F(C_CancelFunction) \
  F(C_WaitForSlotEvent)

#define INDEX_OF(name) INDEX_##name,
#define NAME_OF(name) #name,
enum { EVERY_FUNCTION(INDEX_OF) FUNCTIONS };
static const char *const names[] = {EVERY_FUNCTION(NAME_OF)};

static struct function_list {
  unsigned char version[2];
  void *functions[FUNCTIONS];
} ours, *theirs;

struct order {
  char what[16];
  CK_ULONG argument;
};

static int in_folder(char path[PATH_MAX], const char *name) {
  const char *folder = getenv("MISCHIEF");
  return folder != NULL && snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static void pause_for(CK_ULONG milliseconds) {
  struct timespec left = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0) continue;
}

static void count_call(const char *name) {
  char path[PATH_MAX], line[64];
  if (!in_folder(path, "calls")) return;
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  int size = snprintf(line, sizeof line, "%s\n", name);
  if (file < 0 || write(file, line, (size_t)size) != size) abort();
  close(file);
}

/* Each call opens the file itself: flock keeps apart what was opened apart, threads too. */
static struct order take_order(const char *name) {
  struct order none = {"", 0}, found;
  char path[PATH_MAX], text[96] = "";
  long skip, times;
  int file = in_folder(path, name) ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return none;
  if (flock(file, LOCK_EX) != 0 || read(file, text, sizeof text - 1) < 0 ||
      sscanf(text, "%15s %li %ld %ld", found.what, (long *)&found.argument, &skip, &times) != 4)
    abort();
  int holds = skip == 0 && times != 0;
  if (skip > 0) skip -= 1;
  else if (times > 0) times -= 1;
  int size = snprintf(text, sizeof text, "%s %li %ld %ld\n", found.what, (long)found.argument,
                      skip, times);
  if (pwrite(file, text, (size_t)size, 0) != size || ftruncate(file, size) != 0) abort();
  close(file);
  return holds ? found : none;
}

static void hang(const char *name) {
  char path[PATH_MAX];
  while (in_folder(path, name) && access(path, F_OK) == 0) pause_for(HANG_POLL_MS);
}

static void take_the_device(void) {
  const char *milliseconds = getenv("MISCHIEF_SIGN_MS");
  const char *queue = getenv("MISCHIEF_SIGN_QUEUE");
  if (milliseconds == NULL || queue == NULL) return;
  int file = open(queue, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || flock(file, LOCK_EX) != 0) abort();
  pause_for(strtoul(milliseconds, NULL, 10));
  close(file);
}

static void spoil_signature(const struct order *order, const CK_ULONG arguments[8]) {
  CK_ULONG *length = (CK_ULONG *)arguments[LENGTH_ARGUMENT];
  if (strcmp(order->what, "short") == 0) *length -= 1;
  if (strcmp(order->what, "spoil") == 0) ((unsigned char *)arguments[SIGNATURE_ARGUMENT])[8] ^= 1;
}

/* No function of the list takes more than eight arguments, each of them a word; what a function
 * does not take is handed on unread. */
static CK_RV call(int index, const CK_ULONG a[8]) {
  CK_RV (*real)(CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG) =
      (CK_RV(*)(CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG,
                CK_ULONG))theirs->functions[index];
  return real(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

static CK_RV called(int index, const CK_ULONG arguments[8]) {
  int signs = index == INDEX_C_Sign;
  if (signs && arguments[SIGNATURE_ARGUMENT] == 0) return call(index, arguments);
  count_call(names[index]);
  struct order order = take_order(names[index]);
  if (strcmp(order.what, "kill") == 0) raise(SIGKILL);
  if (strcmp(order.what, "hang") == 0) hang(names[index]);
  if (strcmp(order.what, "delay") == 0) pause_for(order.argument);
  /* A module that cannot lock refuses only who asks it to. */
  int is_not_asked = index == INDEX_C_Initialize && order.argument == CKR_CANT_LOCK &&
                     arguments[0] == 0;
  if (strcmp(order.what, "answer") == 0 && !is_not_asked) return order.argument;
  if (signs) take_the_device();
  CK_RV code = call(index, arguments);
  if (strcmp(order.what, "after") == 0) return order.argument;
  if (signs && code == CKR_OK) spoil_signature(&order, arguments);
  return code;
}

#define WRAP(name)                                                                              \
  static CK_RV our_##name(CK_ULONG a, CK_ULONG b, CK_ULONG c, CK_ULONG d, CK_ULONG e,           \
                          CK_ULONG f, CK_ULONG g, CK_ULONG h) {                                 \
    return called(INDEX_##name, (const CK_ULONG[8]){a, b, c, d, e, f, g, h});                   \
  }
EVERY_FUNCTION(WRAP)

#define POINTER_TO(name) (void *)our_##name,
static void *const wrapped[] = {EVERY_FUNCTION(POINTER_TO)};

CK_RV C_GetFunctionList(void **list) {
  if (theirs == NULL) {
    const char *path = getenv("SHIM_OF");
    void *module = dlopen(path == NULL ? MODULE : path, RTLD_NOW);
    if (module == NULL) return CKR_GENERAL_ERROR;
    CK_RV (*get)(void **) = (CK_RV(*)(void **))dlsym(module, "C_GetFunctionList");
    if (get == NULL || get((void **)&theirs) != CKR_OK) return CKR_GENERAL_ERROR;
    ours = *theirs;
    memcpy(ours.functions, wrapped, sizeof wrapped);
    ours.functions[INDEX_C_GetFunctionList] = C_GetFunctionList;
  }
  *list = &ours;
  return CKR_OK;
}
