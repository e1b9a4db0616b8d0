/* A PKCS#11 module whose reader has keys of its own, for tests: the module that PIN_PAD_MODULE
 * names, behind a person with a finger.
 *
 * Every token says CKF_PROTECTED_AUTHENTICATION_PATH. C_Login with a PIN is refused
 * (CKR_ARGUMENTS_BAD); without one, PIN_PAD_PIN is typed, and the kind of login (1 user,
 * 2 context-specific) is noted as a line of PIN_PAD_LOG. An empty PIN_PAD_PIN is the red button:
 * CKR_FUNCTION_CANCELED.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_RV;
typedef unsigned long CK_ULONG;

enum { FUNCTION_LIST = 3, TOKEN_INFO = 6, LOGIN = 18, FUNCTIONS = 68 };
enum { FLAGS_OFFSET = 32 + 32 + 16 + 16 }; /* CK_TOKEN_INFO: label, maker, model, serial */
enum { PROTECTED_AUTHENTICATION_PATH = 0x100, ARGUMENTS_BAD = 7, FUNCTION_CANCELED = 0x50 };

static struct function_list {
  unsigned char version[2];
  void *functions[FUNCTIONS];
} ours, *theirs;

static CK_RV token_info(CK_ULONG slot, unsigned char *info) {
  CK_RV code =
      ((CK_RV(*)(CK_ULONG, unsigned char *))theirs->functions[TOKEN_INFO])(slot, info);
  if (code == 0) *(CK_ULONG *)(info + FLAGS_OFFSET) |= PROTECTED_AUTHENTICATION_PATH;
  return code;
}

static void note(CK_ULONG user) {
  const char *path = getenv("PIN_PAD_LOG");
  if (path == NULL) return;
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
  char line[2] = {(char)('0' + user), '\n'};
  if (file < 0 || write(file, line, 2) != 2) abort();
  close(file);
}

static CK_RV login(CK_ULONG session, CK_ULONG user, unsigned char *pin, CK_ULONG length) {
  char *typed = getenv("PIN_PAD_PIN");
  if (pin != NULL || length != 0 || typed == NULL) return ARGUMENTS_BAD;
  note(user);
  if (*typed == 0) return FUNCTION_CANCELED;
  return ((CK_RV(*)(CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG))theirs->functions[LOGIN])(
      session, user, (unsigned char *)typed, strlen(typed));
}

CK_RV C_GetFunctionList(void **list) {
  if (theirs == NULL) {
    void *module = dlopen(getenv("PIN_PAD_MODULE"), RTLD_NOW);
    if (module == NULL) return 5;
    CK_RV (*get)(void **) = (CK_RV(*)(void **))dlsym(module, "C_GetFunctionList");
    if (get == NULL || get((void **)&theirs) != 0) return 5;
    ours = *theirs;
    ours.functions[FUNCTION_LIST] = C_GetFunctionList;
    ours.functions[TOKEN_INFO] = token_info;
    ours.functions[LOGIN] = login;
  }
  *list = &ours;
  return 0;
}
