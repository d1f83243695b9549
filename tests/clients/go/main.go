// One scenario per call: `client NAME`, with S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and S3_BUCKET
// in the environment. The AWS SDK for Go v2 with its defaults, path style. A scenario that returns
// without an error has passed.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const mib = 1 << 20

var (
	ctx    = context.Background()
	bucket = aws.String(os.Getenv("S3_BUCKET"))
	client = s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("S3_ENDPOINT")),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("S3_ACCESS_KEY"), os.Getenv("S3_SECRET_KEY"), ""),
		RetryMaxAttempts: 1,
	})
	odd = []string{"with space", "plus+sign", "per%cent", "per%2Fcent", "é/日本", "quo'te\"", "a&b=c",
		"q?u#e", "tilde~(paren)!*$,;:@", "[brackets]{braces}", "back\\slash"}
)

var scenarios = map[string]func() error{
	"objects-go-round":  objects,
	"multipart":         multipart,
	"odd-names":         oddNames,
	"lists-and-copies":  listsAndCopies,
	"conditional-write": conditionalWrite,
	"presigned-urls":    presignedURLs,
	"versions-and-tags": versionsAndTags,
	"bucket-settings":   bucketSettings,
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		names := make([]string, 0, len(scenarios))
		for name := range scenarios {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Println(strings.Join(names, "\n"))
		return
	}
	if err := scenarios[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func put(key string, body []byte) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: &key, Body: bytes.NewReader(body)})
	return err
}

func get(key string) ([]byte, error) {
	answer, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

func expect(key string, body []byte) error {
	found, err := get(key)
	if err == nil && !bytes.Equal(found, body) {
		err = fmt.Errorf("%q is not what was stored", key)
	}
	return err
}

func expectCode(err error, code string) error {
	var found smithy.APIError
	if errors.As(err, &found) && found.ErrorCode() == code {
		return nil
	}
	return fmt.Errorf("%s expected, not: %v", code, err)
}

func random(size int) []byte {
	body := make([]byte, size)
	_, _ = rand.Read(body)
	return body
}

func keys(prefix, delimiter string) ([]string, error) {
	var found []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: bucket, Prefix: &prefix, Delimiter: &delimiter, MaxKeys: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, entry := range page.Contents {
			found = append(found, *entry.Key)
		}
		for _, entry := range page.CommonPrefixes {
			found = append(found, *entry.Prefix)
		}
	}
	return found, nil
}

func objects() error {
	body, key := random(100_000), "a/b"
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("image/png"),
		Metadata:          map[string]string{"who": "me"},
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	if err != nil {
		return err
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return err
	}
	if *head.ContentType != "image/png" || head.Metadata["who"] != "me" || head.ChecksumSHA256 == nil {
		return fmt.Errorf("the head is %+v", head)
	}
	part, err := client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: bucket, Key: &key, Range: aws.String("bytes=10-29")})
	if err != nil {
		return err
	}
	piece, err := io.ReadAll(part.Body)
	if err == nil && !bytes.Equal(piece, body[10:30]) {
		err = errors.New("the range is wrong")
	}
	return errors.Join(err, expect(key, body))
}

func multipart() error {
	body := random(13*mib + 1)
	uploader := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = 5 * mib })
	// A reader that can't seek, as an application's stream: parts are sent as aws-chunked.
	_, err := uploader.Upload(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: aws.String("large"), Body: io.LimitReader(bytes.NewReader(body), 13*mib+1)})
	if err != nil {
		return err
	}
	into := manager.NewWriteAtBuffer(nil)
	downloader := manager.NewDownloader(client, func(d *manager.Downloader) { d.PartSize = 4 * mib })
	_, err = downloader.Download(ctx, into, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("large")})
	if err == nil && !bytes.Equal(into.Bytes(), body) {
		err = errors.New("the download differs")
	}
	return err
}

func oddNames() error {
	for _, key := range odd {
		if err := errors.Join(put(key, []byte(key)), expect(key, []byte(key))); err != nil {
			return err
		}
		source := fmt.Sprintf("%s/%s", *bucket, url.PathEscape(key))
		_, err := client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: bucket, Key: aws.String("copy/" + key), CopySource: &source})
		if err != nil {
			return err
		}
	}
	found, err := keys("copy/", "")
	if err != nil {
		return err
	}
	expected := make([]string, len(odd))
	objects := make([]types.ObjectIdentifier, len(odd))
	for at, key := range odd {
		expected[at] = "copy/" + key
		objects[at] = types.ObjectIdentifier{Key: &expected[at]}
	}
	answer, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: bucket, Delete: &types.Delete{Objects: objects}})
	if err != nil {
		return err
	}
	sorted := slices.Clone(expected)
	sort.Strings(sorted)
	if !slices.Equal(found, sorted) || len(answer.Deleted) != len(odd) {
		return fmt.Errorf("%q instead of %q", found, sorted)
	}
	return nil
}

func listsAndCopies() error {
	for _, key := range []string{"top", "dir/a", "dir/b", "dir/c", "dir/d", "dir/sub/e"} {
		if err := put(key, []byte(key)); err != nil {
			return err
		}
	}
	found, err := keys("dir/", "/")
	if err != nil {
		return err
	}
	if !slices.Equal(found, []string{"dir/a", "dir/b", "dir/c", "dir/d", "dir/sub/"}) {
		return fmt.Errorf("listed: %q", found)
	}
	source := *bucket + "/top"
	_, err = client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bucket, Key: aws.String("copy"), CopySource: &source})
	if err != nil {
		return err
	}
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("top")})
	if err != nil {
		return err
	}
	_, err = get("top")
	return errors.Join(expectCode(err, "NoSuchKey"), expect("copy", []byte("top")))
}

func conditionalWrite() error {
	input := func() *s3.PutObjectInput {
		return &s3.PutObjectInput{Bucket: bucket, Key: aws.String("once"),
			Body: strings.NewReader("first"), IfNoneMatch: aws.String("*")}
	}
	if _, err := client.PutObject(ctx, input()); err != nil {
		return err
	}
	_, err := client.PutObject(ctx, input())
	return expectCode(err, "PreconditionFailed")
}

func presignedURLs() error {
	signer := s3.NewPresignClient(client)
	key := aws.String("by url+ü")
	upload, err := signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key},
		s3.WithPresignExpires(time.Minute))
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPut, upload.URL, strings.NewReader("by url"))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("PUT: %v %v", answer, err)
	}
	download, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	answer, err = http.Get(download.URL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && string(body) != "by url" {
		err = fmt.Errorf("GET: %s %q", answer.Status, body)
	}
	return err
}

func versionsAndTags() error {
	_, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		return err
	}
	key := aws.String("k")
	first, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: strings.NewReader("first"), Tagging: aws.String("a=b")})
	if err != nil {
		return err
	}
	if err := put("k", []byte("second")); err != nil {
		return err
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
		return err
	}
	listed, err := client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil {
		return err
	}
	if len(listed.Versions) != 2 || len(listed.DeleteMarkers) != 1 {
		return fmt.Errorf("versions: %+v", listed)
	}
	old, err := client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: bucket, Key: key, VersionId: first.VersionId})
	if err != nil {
		return err
	}
	body, err := io.ReadAll(old.Body)
	if err != nil || string(body) != "first" {
		return fmt.Errorf("the first version is %q (%v)", body, err)
	}
	tags, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{
		Bucket: bucket, Key: key, VersionId: first.VersionId})
	if err == nil && (len(tags.TagSet) != 1 || *tags.TagSet[0].Key != "a") {
		err = fmt.Errorf("tags: %+v", tags.TagSet)
	}
	return err
}

func bucketSettings() error {
	_, err := client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
		Bucket: bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{
			Rules: []types.LifecycleRule{{ID: aws.String("old"), Status: types.ExpirationStatusEnabled,
				Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("old/")},
				Expiration: &types.LifecycleExpiration{Days: aws.Int32(7)}}}}})
	if err != nil {
		return err
	}
	_, err = client.PutBucketCors(ctx, &s3.PutBucketCorsInput{Bucket: bucket,
		CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
			AllowedMethods: []string{"PUT"}, AllowedOrigins: []string{"http://a.example"}}}}})
	if err != nil {
		return err
	}
	policy := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
		"Action": "s3:GetObject", "Resource": "arn:aws:s3:::%s/public/*"}]}`, *bucket)
	if _, err = client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &policy}); err != nil {
		return err
	}
	if err = put("public/a", []byte("for all")); err != nil {
		return err
	}
	answer, err := http.Get(fmt.Sprintf("%s/%s/public/a", os.Getenv("S3_ENDPOINT"), *bucket))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("anonymous GET: %v %v", answer, err)
	}
	_, err = client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			RestrictPublicBuckets: aws.Bool(true)}})
	if err != nil {
		return err
	}
	answer, err = http.Get(fmt.Sprintf("%s/%s/public/a", os.Getenv("S3_ENDPOINT"), *bucket))
	if err != nil || answer.StatusCode != http.StatusForbidden {
		return fmt.Errorf("anonymous GET behind a block: %v %v", answer, err)
	}
	return nil
}
