/* Asks an export about images through TensorFlow's C library, without Python.

       serve <version folder> <signature> <image file>...

   The names of the signature's tensors come from the export itself. To a signature of strings each
   file goes as it is; to one of pixels they go as binary PPM or PGM files of one size. Each output
   is printed as a line: its name, its number of images and of values for each, and the values, with
   tabs between.

   cc serve.c -I$TF/include $TF/libtensorflow_cc.so.2 $TF/libtensorflow_framework.so.2 -o serve */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST 16 /* inputs or outputs of a signature */

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "error: %s: %s\n", what, detail);
  exit(1);
}

static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* Protocol buffers on the wire: a message is a row of fields, each a number and a value. */

typedef struct {
  const uint8_t *at, *end;
} Bytes;

static uint64_t varint(Bytes *from) {
  uint64_t value = 0;
  for (int shift = 0; from->at < from->end && shift < 64; shift += 7) {
    uint8_t byte = *from->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("MetaGraphDef", "truncated");
  return 0;
}

/* Takes the next field off a message; its value is in `bytes` or in `number`. */
static int next_field(Bytes *message, Bytes *bytes, uint64_t *number) {
  if (message->at == message->end) return 0;
  uint64_t key = varint(message), length = 0;
  *bytes = (Bytes){message->at, message->at};
  *number = 0;
  switch (key & 7) {
    case 0: *number = varint(message); return key >> 3;
    case 1: length = 8; break;
    case 2: length = varint(message); break;
    case 5: length = 4; break;
    default: fail("MetaGraphDef", "a field of an unknown kind");
  }
  if (length > (uint64_t)(message->end - message->at)) fail("MetaGraphDef", "truncated");
  *bytes = (Bytes){message->at, message->at + length};
  message->at += length;
  return key >> 3;
}

/* The value of one field of a message, the last one if there are several. */
static Bytes find(Bytes message, int field, uint64_t *number) {
  Bytes bytes, found = {0, 0};
  uint64_t value;
  if (number) *number = 0;
  for (int key; (key = next_field(&message, &bytes, &value));)
    if (key == field) {
      found = bytes;
      if (number) *number = value;
    }
  return found;
}

static char *text(Bytes bytes) {
  size_t length = bytes.end - bytes.at;
  char *copy = memcpy(calloc(length + 1, 1), bytes.at ? bytes.at : (const uint8_t *)"", length);
  return copy;
}

/* A named input or output of a signature: a TensorInfo. */
typedef struct {
  char *name, *tensor; /* "probabilities", "StatefulPartitionedCall:0" */
  TF_DataType type;
} Tensor;

/* Reads a map<string, TensorInfo>, field `field` of a SignatureDef. */
static int read_tensors(Bytes signature, int field, Tensor *tensors) {
  int count = 0;
  Bytes entry;
  uint64_t number;
  for (int key; (key = next_field(&signature, &entry, &number));)
    if (key == field) {
      if (count == MOST) fail("signature", "too many tensors");
      Bytes info = find(entry, 2, NULL);
      find(info, 2, &number);
      tensors[count++] = (Tensor){text(find(entry, 1, NULL)), text(find(info, 1, NULL)), number};
    }
  return count;
}

/* The SignatureDef of a name: MetaGraphDef.signature_def, field 5, is a map. */
static Bytes find_signature(const TF_Buffer *meta_graph, const char *name) {
  Bytes message = {meta_graph->data, (const uint8_t *)meta_graph->data + meta_graph->length};
  Bytes entry;
  uint64_t number;
  for (int key; (key = next_field(&message, &entry, &number));)
    if (key == 5 && strcmp(text(find(entry, 1, NULL)), name) == 0) return find(entry, 2, NULL);
  fail("no such signature", name);
  return message;
}

/* "operation:0" as the C library wants it. */
static TF_Output place(TF_Graph *graph, const Tensor *tensor) {
  char *colon = strrchr(tensor->tensor, ':');
  int index = colon ? atoi(colon + 1) : 0;
  if (colon) *colon = 0;
  TF_Operation *operation = TF_GraphOperationByName(graph, tensor->tensor);
  if (!operation) fail("no such operation", tensor->tensor);
  return (TF_Output){operation, index};
}

static FILE *open_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) fail("cannot open", path);
  return file;
}

static TF_Tensor *read_files(char **paths, int count) {
  int64_t shape[] = {count};
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, shape, 1, count * sizeof(TF_TString));
  for (int i = 0; i < count; i++) {
    FILE *file = open_file(paths[i]);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *bytes = malloc(size + 1);
    if (fread(bytes, 1, size, file) != (size_t)size) fail("cannot read", paths[i]);
    fclose(file);
    TF_TString *string = (TF_TString *)TF_TensorData(tensor) + i;
    TF_TString_Init(string);
    TF_TString_Copy(string, bytes, size);
    free(bytes);
  }
  return tensor;
}

static TF_Tensor *read_pixels(char **paths, int count) {
  TF_Tensor *tensor = NULL;
  size_t size = 0;
  for (int i = 0; i < count; i++) {
    FILE *file = open_file(paths[i]);
    int kind, width, height;
    if (fscanf(file, "P%d %d %d 255", &kind, &width, &height) != 3 || (kind != 5 && kind != 6))
      fail("not a binary PPM or PGM file", paths[i]);
    fgetc(file); /* the one white space after the header */
    int64_t shape[] = {count, height, width, kind == 6 ? 3 : 1};
    size_t own = shape[1] * shape[2] * shape[3];
    if (!tensor) tensor = TF_AllocateTensor(TF_UINT8, shape, 4, count * (size = own));
    if (own != size || fread((char *)TF_TensorData(tensor) + i * size, 1, size, file) != size)
      fail("of another size than the first file, or truncated", paths[i]);
    fclose(file);
  }
  return tensor;
}

static void print(const Tensor *named, const TF_Tensor *tensor) {
  int64_t images = TF_Dim(tensor, 0), values = TF_TensorElementCount(tensor);
  printf("%s\t%lld\t%lld", named->name, (long long)images, (long long)(images ? values / images : 0));
  for (int64_t i = 0; i < values; i++) {
    const void *data = TF_TensorData(tensor);
    if (named->type == TF_FLOAT) printf("\t%.9g", ((const float *)data)[i]);
    if (named->type == TF_BOOL) printf("\t%d", ((const uint8_t *)data)[i]);
    if (named->type == TF_STRING) {
      const TF_TString *string = (const TF_TString *)data + i;
      printf("\t%.*s", (int)TF_TString_GetSize(string), TF_TString_GetDataPointer(string));
    }
  }
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc < 4) fail("usage", "serve <version folder> <signature> <image file>...");
  const char *tags[] = {"serve"};
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *meta_graph = TF_NewBuffer();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(
      options, NULL, argv[1], tags, 1, graph, meta_graph, status);
  check(status, "cannot load");

  Bytes signature = find_signature(meta_graph, argv[2]);
  Tensor input[MOST], outputs[MOST];
  if (read_tensors(signature, 1, input) != 1) fail("not a signature of one input", argv[2]);
  int count = read_tensors(signature, 2, outputs);
  TF_Output from = place(graph, &input[0]), to[MOST];
  for (int i = 0; i < count; i++) to[i] = place(graph, &outputs[i]);

  TF_Tensor *(*read)(char **, int) = input[0].type == TF_STRING ? read_files : read_pixels;
  TF_Tensor *images = read(argv + 3, argc - 3), *results[MOST];
  TF_SessionRun(
      session, NULL, &from, &images, 1, to, results, count, NULL, 0, NULL, status);
  check(status, "cannot run");
  for (int i = 0; i < count; i++) print(&outputs[i], results[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  check(status, "cannot close");
  return 0;
}
