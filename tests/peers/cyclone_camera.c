/* A camera over Cyclone DDS: publishes colour and depth frames of a file as ROS 2 does.
 *
 *   cyclone_camera FRAMES WIDTH HEIGHT HZ SECONDS
 *
 * FRAMES holds pairs of colour (rgb8) and depth (16UC1), one after the other. Waits for readers on
 * both topics, then publishes, then writes one JSON line a frame: stamp and CRC-32 of both. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "dds/dds.h"
#include "ros_images.h"

static uint32_t crc(const uint8_t *data, size_t size) {
  static uint32_t table[256];
  if (!table[1])
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      table[i] = c;
    }
  uint32_t c = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; i++) c = table[(c ^ data[i]) & 0xFF] ^ (c >> 8);
  return c ^ 0xFFFFFFFFu;
}

static int64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static dds_entity_t writer(dds_entity_t participant, const char *name) {
  dds_qos_t *qos = dds_create_qos();
  dds_qset_reliability(qos, DDS_RELIABILITY_BEST_EFFORT, DDS_MSECS(100));
  dds_qset_history(qos, DDS_HISTORY_KEEP_LAST, 5);
  dds_entity_t topic =
      dds_create_topic(participant, &sensor_msgs_msg_dds__Image__desc, name, qos, NULL);
  dds_entity_t writer = dds_create_writer(participant, topic, qos, NULL);
  if (writer < 0) {
    fprintf(stderr, "no writer on %s: %s\n", name, dds_strretcode(-writer));
    exit(1);
  }
  dds_delete_qos(qos);
  return writer;
}

static int matched(dds_entity_t writer) {
  dds_publication_matched_status_t status;
  return dds_get_publication_matched_status(writer, &status) == 0 && status.current_count > 0;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s FRAMES WIDTH HEIGHT HZ SECONDS\n", argv[0]);
    return 2;
  }
  uint32_t width = (uint32_t)atoi(argv[2]), height = (uint32_t)atoi(argv[3]);
  double hz = atof(argv[4]), seconds = atof(argv[5]);
  size_t size[2] = {(size_t)width * height * 3, (size_t)width * height * 2};
  FILE *file = fopen(argv[1], "rb");
  if (!file) return perror(argv[1]), 1;
  fseek(file, 0, SEEK_END);
  size_t count = (size_t)ftell(file) / (size[0] + size[1]);
  rewind(file);
  uint8_t *frames = malloc(count * (size[0] + size[1]));
  if (!count || !frames || fread(frames, size[0] + size[1], count, file) != count) return 1;
  fclose(file);
  uint32_t *crcs = malloc(2 * count * sizeof *crcs);
  for (size_t i = 0; i < count; i++) {
    uint8_t *frame = frames + i * (size[0] + size[1]);
    crcs[2 * i] = crc(frame, size[0]);
    crcs[2 * i + 1] = crc(frame + size[0], size[1]);
  }

  const char *domain = getenv("ROS_DOMAIN_ID");
  dds_entity_t participant =
      dds_create_participant(domain ? (dds_domainid_t)atoi(domain) : 0, NULL, NULL);
  if (participant < 0) {
    fprintf(stderr, "no participant: %s\n", dds_strretcode(-participant));
    return 1;
  }
  dds_entity_t color = writer(participant, "rt/camera/color/image_raw");
  dds_entity_t depth = writer(participant, "rt/camera/aligned_depth_to_color/image_raw");
  for (int i = 0; i < 400 && !(matched(color) && matched(depth)); i++) dds_sleepfor(DDS_MSECS(50));
  dds_sleepfor(DDS_MSECS(700));

  sensor_msgs_msg_dds__Image_ image[2] = {{0}};
  for (int k = 0; k < 2; k++) {
    image[k].header.frame_id = "camera_color_optical_frame";
    image[k].width = width;
    image[k].height = height;
    image[k].encoding = k ? "16UC1" : "rgb8";
    image[k].step = width * (k ? 2 : 3);
    image[k].data._length = image[k].data._maximum = (uint32_t)size[k];
  }
  size_t total = (size_t)(hz * seconds + 0.5);
  int64_t *stamps = malloc(total * sizeof *stamps);
  int64_t start = now_ns(CLOCK_MONOTONIC);
  for (size_t i = 0; i < total; i++) {
    int64_t wait = start + (int64_t)((double)i * 1e9 / hz) - now_ns(CLOCK_MONOTONIC);
    if (wait > 0) dds_sleepfor(wait);
    uint8_t *frame = frames + i % count * (size[0] + size[1]);
    stamps[i] = now_ns(CLOCK_REALTIME);
    for (int k = 0; k < 2; k++) {
      image[k].header.stamp.sec = (int32_t)(stamps[i] / 1000000000);
      image[k].header.stamp.nanosec = (uint32_t)(stamps[i] % 1000000000);
      image[k].data._buffer = frame + (k ? size[0] : 0);
      dds_return_t wrote = dds_write(k ? depth : color, &image[k]);
      if (wrote != 0) fprintf(stderr, "write: %s\n", dds_strretcode(-wrote));
    }
  }
  for (size_t i = 0; i < total; i++)
    printf("{\"stamp_ns\": %lld, \"color\": %u, \"depth\": %u}\n", (long long)stamps[i],
           crcs[2 * (i % count)], crcs[2 * (i % count) + 1]);
  fflush(stdout);
  dds_sleepfor(DDS_MSECS(500));
  dds_delete(participant);
  return 0;
}
