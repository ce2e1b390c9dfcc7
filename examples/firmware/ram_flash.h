/* Flash of an emulated board, in RAM: pages are erased to 0xFF, programming clears bits. */
#ifndef RAM_FLASH_H
#define RAM_FLASH_H

#include "ek_update_port.h"

#define RAM_FLASH_PAGE 4096u
#ifndef RAM_FLASH_SLOT
#define RAM_FLASH_SLOT (16u * RAM_FLASH_PAGE)
#endif

int ram_flash_read(void *context, ek_area area, uint32_t offset, uint8_t *to, uint32_t bytes);
int ram_flash_erase(void *context, ek_area area, uint32_t offset);
int ram_flash_program(void *context, ek_area area, uint32_t offset, const uint8_t *from,
                      uint32_t bytes);
const uint8_t *ram_flash_address(void *context, ek_area area);

#endif
