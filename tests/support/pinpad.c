/* SoftHSM as a token with a pinpad of its own, for tests.
 *
 * It says so in its flags, refuses a PIN that a program hands over, and takes the one that "a person
 * typed": the content of the file that PINPAD names. The file PINPAD.asked gets a byte each time.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef unsigned long CK_RV;
typedef unsigned long CK_ULONG;

enum { CKR_GENERAL_ERROR = 5, CKR_ARGUMENTS_BAD = 7, PROTECTED_AUTHENTICATION_PATH = 0x100 };
enum { GET_TOKEN_INFO = 6, GET_FUNCTION_LIST = 3, LOGIN = 18, FUNCTIONS = 68 };
enum { FLAGS_AT = 96 }; /* in CK_TOKEN_INFO, behind label, manufacturerID, model and serialNumber */

static struct function_list {
  unsigned char version[2];
  void *functions[FUNCTIONS];
} ours, *theirs;

static CK_RV get_token_info(CK_ULONG slot, unsigned char *info) {
  CK_RV code = ((CK_RV(*)(CK_ULONG, unsigned char *))theirs->functions[GET_TOKEN_INFO])(slot, info);
  if (code == 0) *(CK_ULONG *)(info + FLAGS_AT) |= PROTECTED_AUTHENTICATION_PATH;
  return code;
}

static CK_RV login(CK_ULONG session, CK_ULONG user, unsigned char *pin, CK_ULONG length) {
  unsigned char typed[64];
  char asked[PATH_MAX];
  const char *path = getenv("PINPAD");
  if (pin != NULL || length != 0 || path == NULL) return CKR_ARGUMENTS_BAD;
  snprintf(asked, sizeof asked, "%s.asked", path);
  int record = open(asked, O_WRONLY | O_APPEND | O_CREAT, 0600);
  int file = open(path, O_RDONLY);
  long size = read(file, typed, sizeof typed);
  if (record < 0 || size < 0 || write(record, ".", 1) != 1) abort();
  close(record);
  close(file);
  return ((CK_RV(*)(CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG))theirs->functions[LOGIN])(
      session, user, typed, (CK_ULONG)size);
}

CK_RV C_GetFunctionList(void **list) {
  if (theirs == NULL) {
    void *module = dlopen(SOFTHSM, RTLD_NOW);
    if (module == NULL) return CKR_GENERAL_ERROR;
    CK_RV (*get)(void **) = (CK_RV(*)(void **))dlsym(module, "C_GetFunctionList");
    if (get == NULL || get((void **)&theirs) != 0) return CKR_GENERAL_ERROR;
    ours = *theirs;
    ours.functions[GET_FUNCTION_LIST] = C_GetFunctionList;
    ours.functions[GET_TOKEN_INFO] = get_token_info;
    ours.functions[LOGIN] = login;
  }
  *list = &ours;
  return 0;
}
