/* A PKCS#11 module that is SoftHSM with a bad character, for tests.
 *
 * Every call of C_Initialize, C_Finalize, C_OpenSession, C_Login and C_Sign appends its name to
 * MISCHIEF_LOG.
 * MISCHIEF_<NAME> makes that call answer the given code (hexadecimal) instead of being made;
 * MISCHIEF_LOGIN=kill ends the process in the middle of a login, MISCHIEF_SIGN=short takes a
 * byte off the signature, MISCHIEF_<NAME>=hang never comes back. The environment is read at each
 * call.
 * MISCHIEF_SIGN_MS makes each C_Sign take that many milliseconds, one after the other in all
 * processes that name the same file in MISCHIEF_SIGN_QUEUE: a device of so many signatures/s.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long CK_RV;
typedef unsigned long CK_ULONG;

enum {
  INITIALIZE = 0,
  FINALIZE = 1,
  FUNCTION_LIST = 3,
  OPEN_SESSION = 12,
  LOGIN = 18,
  SIGN = 43,
  FUNCTIONS = 68
};

static struct function_list {
  unsigned char version[2];
  void *functions[FUNCTIONS];
} ours, *theirs;

static const char *mischief(const char *name) {
  char variable[64] = "MISCHIEF_";
  const char *path = getenv("MISCHIEF_LOG");
  if (path != NULL) {
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    char line[64];
    strcat(strcpy(line, name), "\n");
    if (file >= 0 && write(file, line, strlen(line)) > 0) close(file);
  }
  const char *wanted = getenv(strcat(variable, name));
  while (wanted != NULL && strcmp(wanted, "hang") == 0) pause();
  return wanted;
}

/* Each call opens the file itself: flock keeps apart what was opened apart, threads too. */
static void take_the_device(void) {
  const char *milliseconds = getenv("MISCHIEF_SIGN_MS");
  const char *queue = getenv("MISCHIEF_SIGN_QUEUE");
  if (milliseconds == NULL || queue == NULL) return;
  long wanted = strtol(milliseconds, NULL, 10);
  struct timespec left = {wanted / 1000, wanted % 1000 * 1000000};
  int file = open(queue, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || flock(file, LOCK_EX) != 0) abort();
  while (nanosleep(&left, &left) != 0) continue;
  close(file);
}

static CK_RV initialize(void *arguments) {
  const char *wanted = mischief("INITIALIZE");
  /* A module that cannot lock refuses only who asks it to. */
  if (wanted != NULL && arguments != NULL) return strtoul(wanted, NULL, 16);
  return ((CK_RV(*)(void *))theirs->functions[INITIALIZE])(arguments);
}

static CK_RV finalize(void *reserved) {
  const char *wanted = mischief("FINALIZE");
  if (wanted != NULL) return strtoul(wanted, NULL, 16);
  return ((CK_RV(*)(void *))theirs->functions[FINALIZE])(reserved);
}

static CK_RV open_session(CK_ULONG slot, CK_ULONG flags, void *application, void *notify,
                          CK_ULONG *session) {
  const char *wanted = mischief("OPENSESSION");
  if (wanted != NULL) return strtoul(wanted, NULL, 16);
  return ((CK_RV(*)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *))
              theirs->functions[OPEN_SESSION])(slot, flags, application, notify, session);
}

static CK_RV login(CK_ULONG session, CK_ULONG user, unsigned char *pin, CK_ULONG length) {
  const char *wanted = mischief("LOGIN");
  if (wanted != NULL && strcmp(wanted, "kill") == 0) raise(SIGKILL);
  if (wanted != NULL) return strtoul(wanted, NULL, 16);
  return ((CK_RV(*)(CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG))theirs->functions[LOGIN])(
      session, user, pin, length);
}

static CK_RV sign(CK_ULONG session, unsigned char *data, CK_ULONG size, unsigned char *signature,
                  CK_ULONG *length) {
  /* Without a buffer it is only a question for the length. */
  const char *wanted = signature == NULL ? NULL : mischief("SIGN");
  if (wanted != NULL && strcmp(wanted, "short") != 0) return strtoul(wanted, NULL, 16);
  if (signature != NULL) take_the_device();
  CK_RV code =
      ((CK_RV(*)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *))
           theirs->functions[SIGN])(session, data, size, signature, length);
  if (wanted != NULL) *length -= 1;
  return code;
}

CK_RV C_GetFunctionList(void **list) {
  if (theirs == NULL) {
    void *module = dlopen(SOFTHSM, RTLD_NOW);
    if (module == NULL) return 5;
    CK_RV (*get)(void **) = (CK_RV(*)(void **))dlsym(module, "C_GetFunctionList");
    if (get == NULL || get((void **)&theirs) != 0) return 5;
    ours = *theirs;
    ours.functions[INITIALIZE] = initialize;
    ours.functions[FINALIZE] = finalize;
    ours.functions[FUNCTION_LIST] = C_GetFunctionList;
    ours.functions[OPEN_SESSION] = open_session;
    ours.functions[LOGIN] = login;
    ours.functions[SIGN] = sign;
  }
  *list = &ours;
  return 0;
}
