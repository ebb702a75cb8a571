/* An addon of Node: `chaos(name, text, number)` calls the function of chaos.h with that name. Node-API is declared here, so
   that no header of Node's is needed: these types and functions never change. */
#include "../../shim/include/chaos.h"
#include <stddef.h>
#include <string.h>

typedef void *handle;
typedef handle (*callback)(handle env, handle info);
int napi_create_function(handle env, const char *name, size_t size, callback call, void *data, handle *result);
int napi_get_cb_info(handle env, handle info, size_t *count, handle *arguments, handle *self, void **data);
int napi_get_value_string_utf8(handle env, handle value, char *text, size_t size, size_t *length);
int napi_get_value_double(handle env, handle value, double *number);
int napi_create_double(handle env, double number, handle *result);
int napi_create_string_utf8(handle env, const char *text, size_t size, handle *result);

static handle chaos(handle env, handle info) {
    handle arguments[3] = {0}, said = 0;
    size_t count = 3, length;
    char name[40] = "", text[200] = "";
    double number = 0, value = -1;
    napi_get_cb_info(env, info, &count, arguments, 0, 0);
    napi_get_value_string_utf8(env, arguments[0], name, sizeof name, &length);
    if (count > 1) napi_get_value_string_utf8(env, arguments[1], text, sizeof text, &length);
    if (count > 2) napi_get_value_double(env, arguments[2], &number);
    if (!strcmp(name, "error")) {
        napi_create_string_utf8(env, chaos_error(), (size_t)-1, &said);
        return said;
    }
    if (!strcmp(name, "enable")) value = chaos_enable();
    if (!strcmp(name, "disable")) value = chaos_disable();
    if (!strcmp(name, "set")) value = chaos_set("1", text);
    if (!strcmp(name, "get") && chaos_get("1", text, &value)) value = -2;
    if (!strcmp(name, "mark")) value = chaos_mark(text);
    if (!strcmp(name, "event")) value = chaos_event("node", text, 0);
    if (!strcmp(name, "metric")) value = chaos_metric(text, number);
    if (!strcmp(name, "begin")) value = chaos_begin(text);
    if (!strcmp(name, "end")) value = chaos_end();
    if (!strcmp(name, "recovery_begin")) value = chaos_recovery_begin(text);
    if (!strcmp(name, "recovery_end")) value = chaos_recovery_end(text, number != 0);
    if (!strcmp(name, "injections")) value = (double)chaos_injections();
    if (!strcmp(name, "fail")) value = chaos_fail(text);
    napi_create_double(env, value, &said);
    return said;
}

handle napi_register_module_v1(handle env, handle exports) {
    handle made = exports;
    napi_create_function(env, "chaos", (size_t)-1, chaos, 0, &made);
    return made;
}
