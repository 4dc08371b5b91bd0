/* A driver for tests: cuInit gives INIT, and there are GPUS GPUs, which do nothing. */
#include <string.h>

int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = GPUS; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Fake H100", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 9 : 0; return 0; }
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "unknown error"; return 0; }
