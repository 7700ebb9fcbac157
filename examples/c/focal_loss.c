/* Sigmoid focal loss as a program that Steelyard can judge:

       cc -O2 -o focal_loss focal_loss.c -lm
       steelyard check "exec:./focal_loss"

   It reads one JSON request a line and writes one JSON answer a line, as docs/protocol.md says. The reader below is no
   general JSON parser: it reads what the protocol sends, in any order of members. Floats travel as C99 hexadecimal
   text, which strtod reads and %a writes to the last bit. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the technique --------------------------------------------------------------------------------------------- */

/* log(1 + e^z), without overflow and without cancellation */
static double softplus(double z) { return fmax(z, 0.0) + log1p(exp(-fabs(z))); }

static double sigmoid(double z) {
    double small = exp(-fabs(z));
    return (z >= 0 ? 1.0 : small) / (1.0 + small);
}

/* (1 - p)^gamma, where 1 - p = sigmoid(-z) may be too small for a power of it */
static double modulation(double z, double gamma) { return gamma == 0 ? 1.0 : exp(-gamma * softplus(z)); }

static double weight(int target, int has_alpha, double alpha) {
    return !has_alpha ? 1.0 : target ? alpha : 1.0 - alpha;
}

static double focal_loss(double x, int target, double gamma) {
    double z = target ? x : -x;
    return modulation(z, gamma) * softplus(-z);
}

static double focal_loss_grad(double x, int target, double gamma) {
    double z = target ? x : -x, p = sigmoid(z);
    double p_log_p = p == 0 ? 0.0 : -p * softplus(-z);
    double by_z = modulation(z, gamma) * (gamma * p_log_p - sigmoid(-z));
#ifdef WRONG_SIGN
    return by_z;
#else
    return target ? by_z : -by_z;
#endif
}

/* --- reading --------------------------------------------------------------------------------------------------- */

typedef struct {
    size_t length, axes;
    size_t shape[8];
    double *data;
} Array;

typedef struct {
    long id;
    int single, has_alpha, wants_gradient, hello;
    double alpha, gamma;
    Array logits, targets, cotangent;
    char problem[200];
} Request;

static const char *at; /* where the reader stands */

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("focal_loss: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) fail("out of memory");
    return memory;
}

static void expect(char wanted) {
    if (*at != wanted) fail("expected %c at: %.20s", wanted, at);
    at++;
}

static void text(char *into, size_t size) {
    size_t length = 0;
    expect('"');
    while (*at && *at != '"') {
        if (*at == '\\') fail("an escape sequence, which the protocol's names do not need");
        if (length + 1 < size) into[length++] = *at;
        at++;
    }
    into[length] = 0;
    expect('"');
}

/* a number, or the text of one: "0x1.8p+1", "-inf", "nan" */
static double number(void) {
    char *end;
    int quoted = *at == '"';
    double value;
    at += quoted;
    value = strtod(at, &end);
    if (end == at) fail("expected a number at: %.20s", at);
    at = end;
    if (quoted) expect('"');
    return value;
}

static int is_null(void) {
    if (strncmp(at, "null", 4)) return 0;
    at += 4;
    return 1;
}

static void skip(void) { /* any value */
    char ignored[2];
    if (*at == '"') { text(ignored, sizeof ignored); return; }
    if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        for (at++; *at != close; at += *at == ',' || *at == ':') skip();
        at++;
        return;
    }
    while (*at && !strchr(",:]}", *at)) at++;
}

/* calls `member` for each member of an object; the reader stands at its value then */
static void object(void (*member)(const char *name, void *into), void *into) {
    expect('{');
    while (*at != '}') {
        char name[64];
        text(name, sizeof name);
        expect(':');
        member(name, into);
        if (*at == ',') at++;
    }
    expect('}');
}

static void array_member(const char *name, void *into) {
    Array *array = into;
    if (!strcmp(name, "shape")) {
        expect('[');
        for (array->axes = 0; *at != ']'; at += *at == ',') {
            if (array->axes == 8) fail("more than 8 axes");
            array->shape[array->axes++] = (size_t)number();
        }
        expect(']');
    } else if (!strcmp(name, "data")) {
        size_t room = 16;
        array->data = allocate(room * sizeof *array->data);
        expect('[');
        for (array->length = 0; *at != ']'; at += *at == ',') {
            if (array->length == room) {
                array->data = realloc(array->data, (room *= 2) * sizeof *array->data);
                if (!array->data) fail("out of memory");
            }
            array->data[array->length++] = number();
        }
        expect(']');
    } else {
        skip();
    }
}

static void argument(const char *name, void *into) {
    Request *request = into;
    if (!strcmp(name, "logits")) object(array_member, &request->logits);
    else if (!strcmp(name, "targets")) object(array_member, &request->targets);
    else skip();
}

static void float_member(const char *name, void *into) {
    (void)name;
    *(double *)into = number();
}

static void option(const char *name, void *into) {
    Request *request = into;
    double value = NAN;
    int given = !is_null();
    if (given && *at == '{') object(float_member, &value);
    else if (given) value = number();
    if (!strcmp(name, "alpha")) {
        request->has_alpha = given;
        request->alpha = value;
    } else if (!strcmp(name, "gamma")) {
        request->gamma = value;
    }
}

static void member(const char *name, void *into) {
    Request *request = into;
    char word[64];
    if (!strcmp(name, "id")) request->id = (long)number();
    else if (!strcmp(name, "type")) { text(word, sizeof word); request->hello = !strcmp(word, "hello"); }
    else if (!strcmp(name, "dtype")) { text(word, sizeof word); request->single = !strcmp(word, "float32"); }
    else if (!strcmp(name, "arguments")) object(argument, request);
    else if (!strcmp(name, "options")) object(option, request);
    else if (!strcmp(name, "gradient_of")) { request->wants_gradient = strncmp(at, "[]", 2) != 0; skip(); }
    else if (!strcmp(name, "cotangent")) { if (!is_null()) object(array_member, &request->cotangent); }
    else skip();
}

/* --- answering ------------------------------------------------------------------------------------------------- */

static void check(Request *request) {
    const Array *x = &request->logits, *y = &request->targets;
    int differ = x->axes != y->axes;
    for (size_t i = 0; !differ && i < x->axes; i++) differ = x->shape[i] != y->shape[i];
    if (differ) {
        strcpy(request->problem, "targets: expected the shape of logits");
    } else if (!(request->gamma >= 0)) {
        snprintf(request->problem, sizeof request->problem, "gamma: expected >= 0, got %g", request->gamma);
    } else if (request->has_alpha && !(request->alpha >= 0 && request->alpha <= 1)) {
        snprintf(request->problem, sizeof request->problem, "alpha: expected null or [0, 1], got %g", request->alpha);
    }
    for (size_t i = 0; !differ && i < y->length; i++)
        if (y->data[i] != 0 && y->data[i] != 1) strcpy(request->problem, "targets: expected 0 or 1");
}

static void write_array(const Request *request, int gradient) {
    const Array *x = &request->logits;
    fputs("{\"kind\":\"float\",\"shape\":[", stdout);
    for (size_t i = 0; i < x->axes; i++) printf("%s%zu", i ? "," : "", x->shape[i]);
    fputs("],\"data\":[", stdout);
    for (size_t i = 0; i < x->length; i++) {
        int target = request->targets.data[i] == 1;
        double value = gradient ? focal_loss_grad(x->data[i], target, request->gamma)
                                : focal_loss(x->data[i], target, request->gamma);
        double factor = weight(target, request->has_alpha, request->alpha);
        if (gradient && request->cotangent.data) factor *= request->cotangent.data[i];
        value = factor == 0 ? 0.0 : value * factor;
        if (request->single) value = (float)value;
        if (isfinite(value)) printf("%s\"%a\"", i ? "," : "", value);
        else printf("%s\"%s\"", i ? "," : "", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    }
    fputs("]}", stdout);
}

static void answer(Request *request) {
    if (request->hello) {
        puts("{\"type\":\"hello\",\"protocol\":\"steelyard-protocol-1\",\"name\":\"focal_loss.c\",\"version\":\"1\","
             "\"floats\":\"hex\",\"dtypes\":[\"float32\",\"float64\"],"
             "\"functions\":{\"sigmoid_focal_loss\":{\"gradients\":[\"logits\"]}}}");
        return;
    }
    check(request);
    printf("{\"type\":\"answer\",\"id\":%ld,", request->id);
    if (*request->problem) {
        printf("\"error\":\"%s\"}\n", request->problem);
        return;
    }
    fputs("\"outputs\":[", stdout);
    write_array(request, 0);
    fputs("]", stdout);
    if (request->wants_gradient) {
        fputs(",\"gradients\":{\"logits\":", stdout);
        write_array(request, 1);
        fputs("}", stdout);
    }
    puts("}");
}

/* a line of any length without the blanks between its parts; NULL at the end */
static char *line(void) {
    size_t room = 4096, length = 0;
    char *read = allocate(room);
    int c, inside = 0;
    while ((c = getchar()) != EOF && c != '\n') {
        inside ^= c == '"';
        if (!inside && (c == ' ' || c == '\t' || c == '\r')) continue;
        if (length + 1 == room && !(read = realloc(read, room *= 2))) fail("out of memory");
        read[length++] = (char)c;
    }
    if (c == EOF && !length) {
        free(read);
        return NULL;
    }
    read[length] = 0;
    return read;
}

int main(void) {
    char *read;
    while ((read = line())) {
        Request request = {0};
        at = read;
        object(member, &request);
        answer(&request);
        fflush(stdout); /* the suite waits for this line */
        free(request.logits.data);
        free(request.targets.data);
        free(request.cotangent.data);
        free(read);
    }
    return 0;
}
