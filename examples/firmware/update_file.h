/* The update as the emulated board's file; the Makefile makes update_file.c of update.bin. */
#ifndef UPDATE_FILE_H
#define UPDATE_FILE_H

#include <stdint.h>

extern const uint8_t update_file[];
extern const uint32_t update_file_bytes;

#endif
